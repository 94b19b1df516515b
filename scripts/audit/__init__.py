"""What `make audit` looks at: known weaknesses, what is in it, licences, secrets."""
