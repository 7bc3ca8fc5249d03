"""etcd: who leads, and which judicators serve. Soft state only; no fact about a task."""
