-- Drops marks of a tenant that concern nothing any more.
--
-- KEYS: 1 marks (hash)
-- ARGV: fields and the values that they must still have, in turn; at most some hundred
-- Returns how many were dropped.
local dropped = 0
for i = 1, #ARGV, 2 do
  -- One that was invalidated again meanwhile stays.
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    dropped = dropped + redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return dropped
