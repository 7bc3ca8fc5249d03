"""`backup`: the whole of a cluster's data as one file, taken while it works and tried at once.

    archive  the file: a tar of compressed BSON and a manifest that says what must be in it
    app      create, verify, restore

What is not in it: certificates and secrets (a new cluster makes its own), etcd (soft state), and
what executors hold. A task that ended after the backup was taken runs again when it is restored.
"""
