-- Takes one place for a lease if one is free, or looks.
--
-- ARGV: 1 now, 2 places there are, 3 places wanted (1 with a lease), 4 the lease, '' to look,
--       5 microseconds it lasts, 6 microseconds that the longest may last, 7 how many that are over,
--       or wrong, are dealt with at most
-- Returns {1 admitted or held already, now, places taken, when all are free,
--          when so many are free: 0 they are, -1 never, when the lease ends: 0 there is none}
--
-- A denial writes nothing.
local places, wanted, lease = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local longest, batch = now + tonumber(ARGV[6]), ARGV[7]

local known = redis.pcall('ZCARD', KEYS[1])
local foreign = type(known) ~= 'number'
if foreign then known = 0 end

local used, last = 0, now
if known > 0 then
  last = end_at(-1)
  if last > longest then
    -- Written by a clock far ahead: let them end from here. The only write a denial may cause.
    local limit = digits(longest)
    local wrong = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. limit, '+inf', 'LIMIT', 0, batch)
    for _, one in ipairs(wrong) do redis.call('ZADD', KEYS[1], 'XX', limit, one) end
    last = end_at(-1)
    expire(last)
  end
  used = redis.call('ZCOUNT', KEYS[1], '(' .. digits(now), '+inf')
  last = math.max(now, last)
end

local excess, free_at = used + wanted - places, 0
if excess > used then
  free_at = -1
elseif excess > 0 then
  -- Those that are over come first.
  free_at = end_at(known - used + excess - 1)
end

if lease ~= '' then
  local held = end_of(lease)
  if held > now then return {1, now, used, last, 0, held} end
end
if free_at ~= 0 then return {0, now, used, last, free_at, 0} end
if lease == '' then return {1, now, used, last, 0, 0} end

if foreign then redis.call('DEL', KEYS[1]) end
if used < known then
  local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', digits(now), 'LIMIT', 0, batch)
  redis.call('ZREM', KEYS[1], unpack(over))
end
local ends = now + tonumber(ARGV[5])
redis.call('ZADD', KEYS[1], digits(ends), lease)
last = math.max(last, ends)
expire(last)
return {1, now, used + 1, last, 0, ends}
