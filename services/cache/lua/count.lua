-- Adds what one replica has counted to a tenant's hashes, once however often it is sent.
--
-- KEYS: the hashes, each of which covers a time
-- ARGV: 1 field that names the sender and the part, 2 its number, higher each time, 3 groups that a
--       hash holds at most, 4 the group that stands for all others, then for each key the
--       milliseconds it is kept, then for each group its name, how many counters follow, and the
--       name and count of each
-- Returns 1.
local first = 5 + #KEYS
for position, key in ipairs(KEYS) do
  local last = redis.call('HGET', key, ARGV[1])
  if not last or tonumber(last) < tonumber(ARGV[2]) then
    redis.call('HSET', key, ARGV[1], ARGV[2])
    local at = first
    while at <= #ARGV do
      local group, size = ARGV[at], tonumber(ARGV[at + 1])
      -- The name alone is a field that says the group is there, and '#' counts those.
      if redis.call('HEXISTS', key, group) == 0 then
        if tonumber(redis.call('HGET', key, '#') or '0') < tonumber(ARGV[3]) then
          redis.call('HSET', key, group, 0)
          redis.call('HINCRBY', key, '#', 1)
        else
          group = ARGV[4]
        end
      end
      for counter = at + 2, at + 2 * size, 2 do
        redis.call('HINCRBY', key, group .. ARGV[counter], ARGV[counter + 1])
      end
      at = at + 2 + 2 * size
    end
    redis.call('PEXPIRE', key, ARGV[4 + position])
  end
end
return 1
