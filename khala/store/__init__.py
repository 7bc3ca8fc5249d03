"""MongoDB: the only truth about tasks. Nothing else imports pymongo."""
