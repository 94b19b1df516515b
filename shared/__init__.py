"""The server kit: what every service of the suite is made of. Knows no service."""
