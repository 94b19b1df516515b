-- Keeps a part of a list; a list that is left without items is gone.
--
-- ARGV: 8 first item to keep and 9 last, negative ones from the tail; 10 bytes that an item counts
--       for beside its own
-- Returns {0} changed or {1, length, items dropped, bytes it counted for, bytes it counts for}.
local frame = standing()
if not frame then return CHANGED end
local bare, before, each = charged(ARGV[5]), charged(frame), tonumber(ARGV[10])
local length = redis.call('LLEN', KEYS[3])
local first, last = tonumber(ARGV[8]), tonumber(ARGV[9])
if first < 0 then first = math.max(0, length + first) end
if last < 0 then last = length + last end
last = math.min(last, length - 1)
local kept = math.max(0, last - first + 1)
if kept == 0 then
  remove()
  return {1, 0, length, before, 0}
end
if kept == length then return {1, length, 0, before, before} end
local bytes = before - bare
local stays = left_without(0, first - 1, first, length, bytes, each)
if stays then
  local behind = length - 1 - last
  local without = left_without(last + 1, -1, behind, length, bytes, each)
  stays = without and math.max(0, stays + without - bytes)
end
if stays then
  redis.call('LTRIM', KEYS[3], first, last)
else
  stays = weighing_cut(first, last, bytes)
end
change(bare + stays)
return {1, kept, length - kept, before, bare + stays}
