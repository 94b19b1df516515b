-- Books an entry that ends, or more bytes for one, if the tenant may hold so much.
--
-- Times are seconds since 1970.
-- KEYS: 1 usage (hash: entries, bytes, next_end, and for each bucket entries:<end>, bytes:<end>),
--       2 ends (sorted set of the ends of all buckets)
-- ARGV: 1 now or '' for Redis's clock, 2 entries at most or -1, 3 bytes at most or -1, 4 entries to
--       add, 5 bytes to add, 6 and 7 entries and bytes that this replaces, which others take off
--       the books, 8 the end of the bucket
-- Returns {1 booked, due} or {0 refused, due, 'entries' | 'bytes', how much is used}; due is 1 when
-- a bucket has ended that is still in the totals.
local now = tonumber(ARGV[1])
if not now then now = tonumber(redis.call('TIME')[1]) end
local books = redis.call('HMGET', KEYS[1], 'entries', 'bytes', 'next_end')
local next_end = tonumber(books[3])
local due = next_end and next_end <= now and 1 or 0
local add = {tonumber(ARGV[4]), tonumber(ARGV[5])}
for n, quota in ipairs({'entries', 'bytes'}) do
  local used, most = tonumber(books[n] or 0), tonumber(ARGV[n + 1])
  if most >= 0 and add[n] > 0 and used - tonumber(ARGV[n + 5]) + add[n] > most then
    return {0, due, quota, used}
  end
end
local bucket_end = ARGV[8]
redis.call('HINCRBY', KEYS[1], 'entries', ARGV[4])
redis.call('HINCRBY', KEYS[1], 'bytes', ARGV[5])
redis.call('HINCRBY', KEYS[1], 'entries:' .. bucket_end, ARGV[4])
if redis.call('HINCRBY', KEYS[1], 'bytes:' .. bucket_end, ARGV[5]) == add[2] then
  redis.call('ZADD', KEYS[2], bucket_end, bucket_end)
  if not next_end or tonumber(bucket_end) < next_end then
    redis.call('HSET', KEYS[1], 'next_end', bucket_end)
  end
end
return {1, due}
