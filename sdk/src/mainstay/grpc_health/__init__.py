"""The standard health protocol, for servers and probes; see docs/adr/0005."""
