"""The sandbox under a pure cgroup v2 hierarchy: a kernel of its own, whatever the host has."""
