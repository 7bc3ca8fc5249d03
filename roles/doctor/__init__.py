"""`doctor`: what this host lacks for a role, and the command that repairs it.

Everything is found out by doing, with the very parts that the roles use, so that its answer and
theirs cannot differ; and nothing of the host is changed by it.
"""
