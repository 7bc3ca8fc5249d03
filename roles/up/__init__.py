"""`up`: every role on one host, for trying and for small installations."""
