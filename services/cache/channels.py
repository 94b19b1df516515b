"""The pub/sub channels of the cache. What comes over them is a hint: it may be lost."""

INVALIDATED = b"mainstay:cache:log"
"""A tenant's name: something of it was invalidated."""

WAKE = b"mainstay:cache:wake"
"""The Redis key of an entry: who waits for it should look again."""
