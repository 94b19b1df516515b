-- Adds items to one end of a list; what is beyond its length falls off the other end.
--
-- ARGV: 8 'LPUSH' or 'RPUSH', 9 items at most, 10 bytes it may count for at most, 11 bytes that an
--       item counts for beside its own, 12 ... items
-- Returns {0} changed, {1, length, 0, bytes it counted for, bytes it counts for, what was replaced}
-- or {2} beyond the bytes: nothing was added.
local FIRST = 12
local most, each = tonumber(ARGV[9]), tonumber(ARGV[11])
local frame, old = standing()
if not frame then return CHANGED end
local creates = frame == ''
local bare, before = charged(ARGV[5]), charged(frame)
local length = creates and 0 or redis.call('LLEN', KEYS[3])
local pushed = #ARGV - FIRST + 1
local falls = math.max(0, length + pushed - most)
-- Of those that are pushed the first fall off first, when there are too many of them alone.
local skipped = math.max(0, falls - length)
local dropped = falls - skipped
local comes = sum_of_lengths(ARGV, FIRST + skipped, #ARGV) + (pushed - skipped) * each

local first, last, gone_first, gone_last = dropped, -1, 0, dropped - 1
if ARGV[8] == 'LPUSH' then
  first, last, gone_first, gone_last = 0, -dropped - 1, -dropped, -1
end
local stays = 0
if dropped < length then
  stays = left_without(gone_first, gone_last, dropped, length, before - bare, each)
end
local about = stays or (before - bare) * (length - dropped) / length
if bare + about + comes > tonumber(ARGV[10]) then return {2} end

if dropped == length then
  redis.call('UNLINK', KEYS[3])
elseif not stays then
  stays = weighing_cut(first, last, before - bare)
elseif dropped > 0 then
  redis.call('LTRIM', KEYS[3], first, last)
end
redis.call(ARGV[8], KEYS[3], unpack(ARGV, FIRST + skipped, #ARGV))
local after = bare + stays + comes
if creates then create(after) else change(after) end
if dropped == length then end_items() end
return {1, length - dropped + pushed - skipped, 0, before, after, string.sub(old, 1, 57)}
