"""Rate limits: ask whether a subject may act now, see `mainstay.ratelimit.client`."""
