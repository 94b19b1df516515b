-- Gives a lease back, or notes why nobody should compute for a while.
--
-- KEYS: 1 entry, 2 lease
-- ARGV: 1 token, 2 what failed, or '', 3 milliseconds for which nobody computes then,
--       4 channel of those who wait
-- Returns 1, or 0 if the lease is not held any more.
local held = redis.pcall('GET', KEYS[2])
if type(held) ~= 'string' or string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[2])
else
  redis.call('SET', KEYS[2], '!' .. ARGV[2], 'PX', ARGV[3])
end
if #held > #ARGV[1] then redis.call('PUBLISH', ARGV[4], KEYS[1]) end
return 1
