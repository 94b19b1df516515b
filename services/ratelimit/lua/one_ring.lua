-- Decides the commonest of all calls at once: one check of one sliding window, of which the ring, if
-- there is one, was written for the same window and not later than now. Everything else goes on to
-- what follows, which decides this the same way: its functions are made anew in every call of a
-- script, and without them a call takes a third less time.
--
-- KEYS, ARGV and what is returned are those of decide.lua; the ring is that of sliding_window.lua.

local text = redis.pcall('GET', KEYS[1])
local seconds, quota, cost = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local width = math.ceil(seconds * 1000000 / 59)
local bucket = math.floor(now / width)
local newest, used, stored, live = bucket, 0, seconds, 0
if text and #text > 0 and #text % 4 == 0 then
  newest, used, stored = struct.unpack('<I5I4I3', text)
  live = 60 - bucket + newest
  local written = #text / 4 - 3
  if live >= written then
    live = written
  elseif live > 0 then
    for at = 4 * live + 13, #text, 4 do
      used = used - struct.unpack('<I4', text, at)
    end
  end
elseif text then
  stored = nil
end
if stored == seconds and newest <= bucket and (live > 0 or not text) then
  local excess, retry_at = used + cost - quota, 0
  if excess > 0 then
    retry_at = -1
    for at = 4 * live + 9, 13, -4 do
      excess = excess - struct.unpack('<I4', text, at)
      if excess <= 0 then
        retry_at = (newest - (at - 13) / 4 + 60) * width
        break
      end
    end
  elseif ARGV[2] == '1' then
    local passed, first, rest = bucket - newest, cost, ''
    if live > 0 and passed > 0 then
      rest = string.rep('\0', 4 * passed - 4) .. string.sub(text, 13, 4 * live + 12)
    elseif live > 0 then
      first = struct.unpack('<I4', text, 13) + cost
      rest = string.sub(text, 17, 4 * live + 12)
    end
    newest, used = bucket, used + cost
    local ring = struct.pack('<I5I4I3I4', newest, used, seconds, first) .. rest
    redis.call('SET', KEYS[1], ring, 'PX', math.ceil(((newest + 60) * width - now) / 1000))
  end
  return { now, retry_at, used, used == 0 and now or (newest + 60) * width }
end
