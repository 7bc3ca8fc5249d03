"""The commands of administrators: tokens, members, nodes. They ask a judicator."""
