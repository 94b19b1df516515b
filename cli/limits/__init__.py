"""`mainstay limits`: what an operator asks of the rate limits from a terminal."""
