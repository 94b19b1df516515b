"""`mainstay health`: how the suite is, why, and how it was, from a terminal."""
