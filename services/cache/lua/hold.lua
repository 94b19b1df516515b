-- Takes or keeps the right to do what one replica at a time is enough for.
--
-- KEYS: 1 where it is held
-- ARGV: 1 who asks, 2 milliseconds it lasts
-- Returns 1, or 0 when another holds it.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
