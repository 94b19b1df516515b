"""Redis: one multiplexed connection per process, scripts by digest."""
