"""Pure data: identifiers, task shapes, limits, errors. Imports nothing but the stdlib and msgspec."""
