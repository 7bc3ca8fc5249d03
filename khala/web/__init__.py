"""Holder of the built web pages: `dist/` is filled by the build and served by the gateway."""
