#!lua flags=allow-oom
-- Removes an entry of any kind and voids a lease on it; leaves a tombstone that says why.
-- Runs in a full store too (allow-oom): it makes room.
--
-- KEYS: 1 entry, 2 lease, 3 items
-- ARGV: 1 frame of the tombstone, 2 milliseconds it lives at most, 3 channel of those who wait,
--       4 the version it must have (8 bytes), or '' for any
-- Returns {1 there was something | 0 there was nothing, its first 57 bytes}.
local old = redis.pcall('GETRANGE', KEYS[1], 0, 56)
local foreign = type(old) == 'table'
if foreign then old = '' end
if ARGV[4] ~= '' and string.sub(old, 5, 12) ~= ARGV[4] then return {0, ''} end
local lease = redis.pcall('GET', KEYS[2])
if type(lease) == 'table' then lease = '' end
if lease then
  redis.call('DEL', KEYS[2])
  if string.byte(lease, 1) == 76 and string.sub(lease, -1) == 'w' and #lease == 42 then
    redis.call('PUBLISH', ARGV[3], KEYS[1])
  end
end
if not foreign and (old == '' or (#old == 57 and string.byte(old, 53) == 5)) then
  if redis.call('EXISTS', KEYS[1]) == 0 or old ~= '' then return {0, ''} end
end
local left = redis.call('PTTL', KEYS[1])
redis.call('UNLINK', KEYS[3])
if left < 0 or left > tonumber(ARGV[2]) then left = tonumber(ARGV[2]) end
-- A TTL of 0 is no TTL to Redis but an error.
if left < 1 then left = 1 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', left)
return {1, old}
