-- First part of every script about counters: the time, by the server's own clock.
--
-- ARGV[1]  now in microseconds since 1970, for tests; '' for the clock

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
