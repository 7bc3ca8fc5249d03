"""Settings: one table, four sources (flag, environment, file, default), one frozen result."""
