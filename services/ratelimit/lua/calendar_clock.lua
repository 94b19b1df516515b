-- First part of every script about counters of which one follows a calendar: the time, and whether
-- the bounds that were sent are those of now. Redis knows no time zones.
--
-- ARGV[1]  'now begin end' in microseconds since 1970: now for tests, else '', and the time in which
--          all bounds of the call hold
-- Returns {now} when they do not: nothing has happened, send those of that time.

local given, first, last = string.match(ARGV[1], '^(%d*) (%d+) (%d+)$')
local now = tonumber(given)
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
if now < tonumber(first) or now >= tonumber(last) then
  return { now }
end
