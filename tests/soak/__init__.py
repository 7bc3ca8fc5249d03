"""Thousands of mixed tasks and an executor that is killed again and again: nothing may be left."""
