"""etcd: who leads, and which judicators serve. Soft state only; no fact about a task."""

import os

# Before its import: gRPC prepares for children that go on in Python, and says so in the middle of a
# log of JSON lines whenever it cannot. Ours execute another program at once.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
