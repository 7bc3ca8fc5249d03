"""The real core under a hostile network, a doubtful store and virtual time."""
