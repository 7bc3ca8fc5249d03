"""`python -m khala` is the same program as `khala.pex`."""

from khala.cli import main

main()
