-- Removes members from a set; a set that is left without members is gone.
--
-- ARGV: 8 bytes that a member counts for beside its own, 9 ... members, none twice
-- Returns {0} changed or {1, size, members removed, bytes it counted for, bytes it counts for}.
local FIRST = 9
local frame = standing()
if not frame then return CHANGED end
local before = charged(frame)
local after, removed = before, 0
for n, is_member in ipairs(redis.call('SMISMEMBER', KEYS[3], unpack(ARGV, FIRST, #ARGV))) do
  if is_member == 1 then
    removed = removed + 1
    after = after - #ARGV[FIRST + n - 1] - tonumber(ARGV[8])
  end
end
local size = redis.call('SCARD', KEYS[3]) - removed
if size <= 0 then
  remove()
  return {1, 0, removed, before, 0}
end
if removed > 0 then
  redis.call('SREM', KEYS[3], unpack(ARGV, FIRST, #ARGV))
  change(after)
end
return {1, size, removed, before, after}
