"""The cluster's own certificates: who signs them, what a node keeps of them, how it gets them."""
