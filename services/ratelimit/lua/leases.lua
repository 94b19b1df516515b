-- What the scripts for leases begin with. The rule stands in concurrency.py.
--
-- KEYS[1]  the leases of one subject on one rule: a sorted set of lease (16 bytes) by its end
-- ARGV[1]  now, for tests; empty for the server's own clock
--
-- Times are microseconds since 1970, up to 2^53 exact in a Lua number and in a score. What another
-- rule of the same name, or another program, wrote under the key counts as nothing.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function digits(number)
  return string.format('%.0f', number)
end

local function end_of(lease)
  local score = redis.pcall('ZSCORE', KEYS[1], lease)
  return type(score) == 'string' and tonumber(score) or 0
end

local function end_at(rank)
  return tonumber(redis.call('ZRANGE', KEYS[1], rank, rank, 'WITHSCORES')[2])
end

-- Redis expires in milliseconds; the key must not go before its last lease has ended.
local function expire(last)
  redis.call('PEXPIRE', KEYS[1], math.max(1, math.ceil((last - now) / 1000)))
end
