"""`mainstay cache`: what an operator asks of the cache from a terminal."""
