"""Cache: keep bytes for a while and read them back, through `mainstay.cache.client`."""
