-- Adds what one replica knows of who was limited to a tenant's sketches, once however often it is sent.
--
-- A sketch is a sorted set of counts and a hash of what else is known: by how much each count may be
-- too high, E (the highest count that had to go), F (what every key may have been counted above that),
-- and for each sender the number of the last part. A key's count is at most its score and F; of a key
-- that is not there, E and F.
--
-- KEYS: for each sketch the sorted set and the hash
-- ARGV: 1 field that names the sender and the part, 2 its number, higher each time, 3 what to add to F,
--       4 how many keys there are, then those, each with its count and error, then for each sketch how
--       many keys it holds at most and the milliseconds it is kept
-- Returns 1.
local after = 5 + 3 * tonumber(ARGV[4])
for sketch = 1, #KEYS / 2 do
  local counts, facts = KEYS[2 * sketch - 1], KEYS[2 * sketch]
  local last = redis.call('HGET', facts, ARGV[1])
  if not last or tonumber(last) < tonumber(ARGV[2]) then
    local room = tonumber(ARGV[after + 2 * sketch - 2]) - redis.call('ZCARD', counts)
    local evicted = tonumber(redis.call('HGET', facts, 'E') or '0')
    for at = 5, after - 1, 3 do
      local key, count, err = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
      if not redis.call('ZSCORE', counts, key) then
        if room > 0 then
          room = room - 1
        else
          local least = redis.call('ZPOPMIN', counts)
          redis.call('HDEL', facts, least[1])
          evicted = math.max(evicted, tonumber(least[2]))
        end
        count, err = count + evicted, err + evicted
      end
      redis.call('ZINCRBY', counts, string.format('%.0f', count), key)
      if err > 0 then
        redis.call('HINCRBY', facts, key, string.format('%.0f', err))
      end
    end
    redis.call('HSET', facts, ARGV[1], ARGV[2], 'E', string.format('%.0f', evicted))
    redis.call('HINCRBY', facts, 'F', ARGV[3])
    redis.call('PEXPIRE', counts, ARGV[after + 2 * sketch - 1])
    redis.call('PEXPIRE', facts, ARGV[after + 2 * sketch - 1])
  end
end
return 1
