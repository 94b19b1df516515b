-- Adds members to a set.
--
-- ARGV: 8 members at most, 9 bytes it may count for at most, 10 bytes that a member counts for
--       beside its own, 11 ... members, none twice
-- Returns {0} changed, {1, size, members added, bytes it counted for, bytes it counts for, what was
-- replaced}, {2} beyond the bytes or {3, size} beyond the members: nothing was added.
local FIRST = 11
local frame, old = standing()
if not frame then return CHANGED end
local creates = frame == ''
if creates then redis.call('UNLINK', KEYS[3]) end
local size = redis.call('SCARD', KEYS[3])
local before = charged(frame)
local after, added = creates and charged(ARGV[5]) or before, 0
local known = redis.call('SMISMEMBER', KEYS[3], unpack(ARGV, FIRST, #ARGV))
for n, is_member in ipairs(known) do
  if is_member == 0 then
    added = added + 1
    after = after + #ARGV[FIRST + n - 1] + tonumber(ARGV[10])
  end
end
if added > 0 and size + added > tonumber(ARGV[8]) then return {3, size} end
if added > 0 and after > tonumber(ARGV[9]) then return {2} end
if added > 0 then
  redis.call('SADD', KEYS[3], unpack(ARGV, FIRST, #ARGV))
  if creates then create(after) else change(after) end
  if size == 0 then end_items() end
end
return {1, size + added, added, before, after, creates and string.sub(old, 1, 57) or ''}
