"""The sandbox against programs that mean harm, and programs that do not."""
