"""Khala: a distributed platform that runs command-line tasks in sandboxes, out of one file."""
