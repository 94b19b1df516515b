-- Second part of every script about counters: what all forms of them share.
--
-- What lies under a key tells its form by its length modulo 4: 0 a ring, 1 a debt, 2 a count.
-- Every algorithm that follows adds itself to `algorithms`:
--   look(key, window, quota, cost, keep)  retry_at, used, reset_at, and when the cost fits or `keep`
--                                         is true what the others want; retry_at: 0 fits now, -1
--                                         never fits; times are microseconds since 1970
--   consume(counter, cost)                writes; used, reset_at
--   refund(counter, cost, moment)         writes; what came back; moment may be nil

local algorithms = {}
local floor, ceil = math.floor, math.ceil

-- Returns what a counter of another form holds at most.
local function foreign(text)
  if type(text) == 'table' then
    -- Leases of a concurrency rule that is a rate now: nothing was consumed of that.
    if string.sub(text.err, 1, 9) ~= 'WRONGTYPE' then
      error(text.err)
    end
    return 0
  end
  local form = #text % 4
  if form == 0 then
    local newest, used, seconds = struct.unpack('<I5I4I3', text)
    return now < (newest + 60) * ceil(seconds * 1000000 / 59) and used or 0
  elseif form == 1 then
    local due, _, interval = struct.unpack('<I7I7I7', text)
    return now < due and ceil((due - now) / interval) or 0
  end
  local _, last, used = struct.unpack('<I7I7I8', text)
  return now < last and used or 0
end
