"""The runtime of a gRPC service: one pipeline around every method."""
