#!lua flags=allow-oom
-- Takes buckets that have ended off the totals, up to 64 of them.
-- Runs in a full store too (allow-oom): it writes what has become less.
--
-- Times are seconds since 1970.
-- KEYS: 1 usage, 2 ends
-- ARGV: 1 now or '' for Redis's clock
-- Returns 1 when there may be more of them, else 0.
local MOST = 64
local now = tonumber(ARGV[1])
if not now then now = tonumber(redis.call('TIME')[1]) end
local ended = redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, MOST)
if #ended > 0 then
  local fields = {}
  for _, bucket_end in ipairs(ended) do
    fields[#fields + 1] = 'entries:' .. bucket_end
    fields[#fields + 1] = 'bytes:' .. bucket_end
  end
  local off = {0, 0}
  for n, amount in ipairs(redis.call('HMGET', KEYS[1], unpack(fields))) do
    local which = 2 - n % 2
    off[which] = off[which] + tonumber(amount or 0)
  end
  redis.call('HDEL', KEYS[1], unpack(fields))
  redis.call('ZREM', KEYS[2], unpack(ended))
  for n, total in ipairs({'entries', 'bytes'}) do
    -- Formatted, for Lua writes what is large as a power of ten.
    if redis.call('HINCRBY', KEYS[1], total, string.format('%.0f', 0 - off[n])) < 0 then
      redis.call('HSET', KEYS[1], total, 0)
    end
  end
end
local first = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
if first then
  redis.call('HSET', KEYS[1], 'next_end', first)
else
  redis.call('HDEL', KEYS[1], 'next_end')
end
return #ended == MOST and 1 or 0
