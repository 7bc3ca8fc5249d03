"""`recover --from-survivor`: the way back from a lost majority, which is an operator's alone."""
