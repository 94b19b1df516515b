-- Lets a lease last longer.
--
-- KEYS: 1 lease
-- ARGV: 1 its token, 2 milliseconds it lasts from now
-- Returns 1, or 0 if it is not held any more.
local held = redis.pcall('GET', KEYS[1])
if type(held) ~= 'string' or string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
