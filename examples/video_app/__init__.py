"""A small video platform that uses every service of Mainstay."""
