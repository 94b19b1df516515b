"""Redis: one multiplexed connection per process and server, or per master of a cluster."""
