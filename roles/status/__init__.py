"""`status`: what runs on this host, and how well."""
