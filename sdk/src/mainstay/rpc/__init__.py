"""The error model on the wire."""
