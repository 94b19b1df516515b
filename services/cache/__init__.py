"""The cache: values under a tenant, a namespace and a key, for a bounded time."""
