-- Gives a place back.
--
-- ARGV: 1 now, 2 the lease
-- Returns 1, or 0 if it was over.
local ends = end_of(ARGV[2])
if ends == 0 then return 0 end
redis.call('ZREM', KEYS[1], ARGV[2])
return ends > now and 1 or 0
