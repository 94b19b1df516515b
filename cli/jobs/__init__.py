"""`mainstay jobs`: what producers and operators ask of the jobs from a terminal."""
