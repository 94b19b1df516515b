"""`mainstay backup` and `mainstay restore`: all that Mainstay keeps in PostgreSQL, as one file."""
