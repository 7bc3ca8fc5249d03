"""The gateway: the HTTP API and the web pages. It keeps nothing that a restart would lose."""
