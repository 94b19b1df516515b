-- Lets a lease last longer.
--
-- ARGV: 1 now, 2 the lease, 3 microseconds it lasts from now
-- Returns when it ends, or 0 if it is over.
if end_of(ARGV[2]) <= now then return 0 end
local ends = now + tonumber(ARGV[3])
redis.call('ZADD', KEYS[1], digits(ends), ARGV[2])
expire(end_at(-1))
return ends
