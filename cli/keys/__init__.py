"""`mainstay keys`: API keys, in the database."""
