"""The scopes of methods, on the wire."""
