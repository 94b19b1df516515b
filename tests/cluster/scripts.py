"""A script whose answer shows where it came from."""

import hashlib

from shared.redis.client import Script

TEXT = "return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}"
SCRIPT = Script(text=TEXT, sha=hashlib.sha1(TEXT.encode()).hexdigest())
