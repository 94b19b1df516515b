-- Writes an entry, if its condition holds and its lease is still held; ends a lease on it.
--
-- KEYS: 1 entry, 2 lease, 3 items
-- ARGV: 1 frame, 2 milliseconds to live or '', 3 condition: '' | 'absent' | 'present' | 8 bytes of
--       version, 4 the version that counts as nothing: 8 bytes or '', 5 lease token or '',
--       6 channel of those who wait
-- Returns {0 stored | 1 lease lost | 2 condition unmet, the first 57 bytes of what stood there}.
local lease = redis.pcall('GET', KEYS[2])
if type(lease) == 'table' then lease = '' end
local token = ARGV[5]
if token ~= '' and (not lease or string.sub(lease, 1, #token) ~= token) then
  return {1, ''}
end
-- What another program wrote may be of another type; it counts as nothing.
local old = redis.pcall('GETRANGE', KEYS[1], 0, 56)
if type(old) == 'table' then old = '' end
local condition = ARGV[3]
if condition ~= '' then
  local version = string.sub(old, 5, 12)
  local exists = #old == 57 and string.byte(old, 1) == 0xC1 and string.byte(old, 53) ~= 5
      and version ~= ARGV[4]
  local met
  if condition == 'absent' then met = not exists
  elseif condition == 'present' then met = exists
  else met = exists and version == condition end
  if not met then return {2, old} end
end
if ARGV[2] == '' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
redis.call('UNLINK', KEYS[3])
if lease then
  redis.call('DEL', KEYS[2])
  -- A lease that somebody waits for is one byte longer than its token.
  if string.byte(lease, 1) == 76 and string.sub(lease, -1) == 'w' and #lease == 42 then
    redis.call('PUBLISH', ARGV[6], KEYS[1])
  end
end
return {0, old}
