-- Says that a replica lives, forgets those that have not said so for a while, and counts the rest.
-- Times are milliseconds since 1970.
--
-- KEYS[1]  sorted set: replica -> its last beat
-- ARGV[1]  the replica
-- ARGV[2]  how long a beat counts
-- ARGV[3]  now, for tests; empty for the server's own clock
-- returns  how many replicas live

local now
if ARGV[3] == '' then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
else
  now = tonumber(ARGV[3])
end
local kept = tonumber(ARGV[2])

redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - kept))
-- Beats from a clock that was far ahead would count until then. Who lives will beat again.
redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('(%.0f', now + kept), '+inf')
redis.call('PEXPIRE', KEYS[1], kept)
return redis.call('ZCARD', KEYS[1])
