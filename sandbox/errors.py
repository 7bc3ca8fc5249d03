"""What can go wrong around a stage, apart from the stage itself.

How a program ends is an outcome, never an exception. These are the other two cases: input that
cannot become a work directory (the submitter's fault), and a jail that was destroyed by something
that is neither the task nor a limit (nobody's fault, and no statement about the task).
"""

from __future__ import annotations

from khala.model.errors import KhalaError, Rejected


class BadInput(Rejected):
    """The task's files do not fit into its work directory."""


class BadArchive(BadInput):
    """The archive cannot be unpacked."""


class SandboxLost(KhalaError):
    """The sandbox was destroyed from outside; how the task would have ended is unknown."""
