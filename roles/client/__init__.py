"""The commands of users: submit, look, wait, cancel, fetch. They speak HTTP to a gateway and need
nothing of the host: no root, no data directory, no other role."""
