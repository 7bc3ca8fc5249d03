"""What holds for every test: on a busy machine an example may take as long as it takes."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("khala", deadline=None)
settings.load_profile("khala")
