"""The health of the suite: `mainstay.health.client` asks, `mainstay.health.v1` is the wire."""
