-- Renews a confirmed entry without touching its value, and ends the lease on it.
--
-- KEYS: 1 entry, 2 lease
-- ARGV: 1 token, 2 the version that was confirmed (8 bytes), 3 create time to computation time as
--       they stand in a frame from byte 12 on (36 bytes), 4 milliseconds to live or '',
--       5 channel of those who wait
-- Returns {0 renewed, its first 57 bytes as they were} | {1 lease lost, ''} | {2 another entry or
-- none stands there, ''}.
local held = redis.pcall('GET', KEYS[2])
if type(held) ~= 'string' or string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return {1, ''} end
local before = redis.pcall('GETRANGE', KEYS[1], 0, 56)
if type(before) ~= 'string' or #before ~= 57 or string.byte(before, 1) ~= 0xC1
    or string.sub(before, 5, 12) ~= ARGV[2] then
  return {2, ''}
end
redis.call('SETRANGE', KEYS[1], 12, ARGV[3])
if ARGV[4] == '' then redis.call('PERSIST', KEYS[1])
else redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
redis.call('DEL', KEYS[2])
if #held > #ARGV[1] then redis.call('PUBLISH', ARGV[5], KEYS[1]) end
return {0, before}
