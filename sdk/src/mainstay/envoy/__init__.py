"""Envoy's protocols, for servers; the path is ours so that it collides with no other package."""
