"""Pure data: identifiers, task shapes, limits, errors. Imports only the stdlib and msgspec."""
