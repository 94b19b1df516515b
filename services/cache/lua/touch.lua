-- Gives an entry a new expiry and leaves its value alone.
--
-- KEYS: 1 entry, 2 items
-- ARGV: 1 the version and the create time it must have (16 bytes), 2 soft expiry and expiry as they
--       stand in the frame (16 bytes), 3 milliseconds to live or ''
-- Returns its first 57 bytes as they were, or '' when another entry or none stands there.
local old = redis.pcall('GETRANGE', KEYS[1], 0, 56)
if type(old) == 'table' or string.sub(old, 5, 20) ~= ARGV[1] then return '' end
redis.call('SETRANGE', KEYS[1], 20, ARGV[2])
for _, key in ipairs(KEYS) do
  if ARGV[3] == '' then redis.call('PERSIST', key)
  else redis.call('PEXPIRE', key, ARGV[3]) end
end
return old
