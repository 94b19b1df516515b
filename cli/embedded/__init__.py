"""Real Redis and real PostgreSQL, started on loopback when no address of one is given."""
