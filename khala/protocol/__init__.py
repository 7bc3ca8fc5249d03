"""What goes over wires: message types and their encoding, no I/O."""
