"""Judicator: accepts, dispatches and records tasks; runs its etcd and mongod."""
