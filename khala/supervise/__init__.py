"""Child processes: started in order, watched, restarted with care, stopped in reverse.

The standard library and `khala.model` only: the supervisor must stay small, because everything
else lives and dies with it.
"""
