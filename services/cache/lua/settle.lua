#!lua flags=allow-oom
-- Takes entries that were replaced or removed out of their buckets.
-- Runs in a full store too (allow-oom): it writes what has become less.
--
-- KEYS: 1 usage
-- ARGV: for each bucket its end in seconds since 1970, the entries and the bytes to take out
-- A bucket that has ended is gone from the totals already; nothing goes below zero.
local off = {0, 0}
for n = 1, #ARGV, 3 do
  local fields = {'entries:' .. ARGV[n], 'bytes:' .. ARGV[n]}
  local held = redis.call('HMGET', KEYS[1], unpack(fields))
  if held[2] then
    local left = {}
    for i = 1, 2 do
      local have = tonumber(held[i] or 0)
      local taken = math.min(have, tonumber(ARGV[n + i]))
      off[i] = off[i] + taken
      left[i] = have - taken
    end
    -- Formatted, for Lua writes what is large as a power of ten.
    redis.call('HSET', KEYS[1], fields[1], string.format('%.0f', left[1]), fields[2],
      string.format('%.0f', left[2]))
  end
end
for i, total in ipairs({'entries', 'bytes'}) do
  if off[i] > 0 and redis.call('HINCRBY', KEYS[1], total, string.format('%.0f', -off[i])) < 0 then
    redis.call('HSET', KEYS[1], total, 0)
  end
end
return 0
