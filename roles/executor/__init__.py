"""Executor: runs attempts in sandboxes and delivers their results."""
