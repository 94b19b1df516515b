-- The sliding window; the rule stands in sliding_window.py. Times are microseconds since 1970.
--
-- window: seconds; quota: how much any window may hold.
-- A ring is a string: index of its newest bucket, running sum and window (12 bytes), then what each
-- bucket holds, the newest first: 252 bytes at most, so that Redis needs 256 for it.

local MAX_SUM = 4294967295

-- Writes a ring that Redis forgets when nothing of it counts any more: never sooner.
local function write_ring(key, newest, used, seconds, width, counters)
  local text = struct.pack('<I5I4I3', newest, used, seconds) .. counters
  redis.call('SET', key, text, 'PX', ceil(((newest + 60) * width - now) / 1000))
end

-- Returns as a ring of this window what another window, another algorithm or nobody has written.
local function converted(text, seconds, width)
  if type(text) == 'table' or #text % 4 ~= 0 then
    local used = math.min(foreign(text), MAX_SUM)
    return used > 0 and struct.pack('<I5I4I3I4', floor(now / width), used, seconds, used)
  end
  local newest, _, stored = struct.unpack('<I5I4I3', text)
  local old, moved, latest = ceil(stored * 1000000 / 59), {}, 0
  for at = 13, #text, 4 do
    local last = newest * old + old - 1
    if last > now and last - old < now then
      last = now
    end
    local index = floor(last / width)
    moved[index] = (moved[index] or 0) + struct.unpack('<I4', text, at)
    latest = math.max(latest, index)
    newest = newest - 1
  end
  local used, parts = 0, {}
  for age = 0, 59 do
    local held = moved[latest - age] or 0
    used = used + held
    parts[age + 1] = struct.pack('<I4', held)
  end
  return struct.pack('<I5I4I3', latest, used, seconds) .. table.concat(parts)
end

-- Returns the text under a key as a ring of this window, or nothing; then index of its newest bucket,
-- its sum, and how many of its buckets still count.
local function read_ring(key, seconds, width, bucket)
  local text, newest, used, stored = redis.pcall('GET', key), bucket, 0, nil
  -- The length of an error, which is a table, is 0.
  if text and #text > 0 and #text % 4 == 0 then
    newest, used, stored = struct.unpack('<I5I4I3', text)
  end
  if text and stored ~= seconds then
    text = converted(text, seconds, width)
    if text then
      newest, used = struct.unpack('<I5I4', text)
    end
  end
  if not text then
    return nil, bucket, 0, 0
  end
  if newest > bucket + 60 then
    -- Written by a clock far ahead: let it age from here. The only write that a denial may cause.
    newest = bucket
    write_ring(key, newest, used, seconds, width, string.sub(text, 13))
  end
  local written, live = #text / 4 - 3, 60 - bucket + newest
  if live <= 0 then
    return text, bucket, 0, 0
  elseif live >= written then
    return text, newest, used, written
  end
  for at = 4 * live + 13, #text, 4 do
    used = used - struct.unpack('<I4', text, at)
  end
  return text, newest, used, live
end

algorithms.sliding_window = {
  look = function(key, window, quota, cost, keep)
    local seconds = tonumber(window)
    local width = ceil(seconds * 1000000 / 59)
    local bucket = floor(now / width)
    local text, newest, used, live = read_ring(key, seconds, width, bucket)
    local reset_at = used == 0 and now or (newest + 60) * width
    local excess, retry_at = used + cost - quota, 0
    if excess > 0 then
      retry_at = -1
      -- Let the oldest buckets leave one by one until the cost fits.
      for at = 4 * live + 9, 13, -4 do
        excess = excess - struct.unpack('<I4', text, at)
        if excess <= 0 then
          retry_at = (newest - (at - 13) / 4 + 60) * width
          break
        end
      end
      if not keep then
        return retry_at, used, reset_at
      end
    end
    return retry_at, used, reset_at, {
      key = key, text = text, newest = newest, used = used, live = live,
      bucket = bucket, width = width, seconds = seconds,
    }
  end,

  consume = function(ring, cost)
    local newest, used, live = ring.newest, ring.used, ring.live
    cost = math.min(cost, MAX_SUM - used)
    if cost > 0 then
      local first, counters = cost, ''
      if live > 0 then
        local passed, last = ring.bucket - newest, 4 * live + 12
        if passed > 0 then
          counters = string.rep('\0', 4 * passed - 4) .. string.sub(ring.text, 13, last)
          newest = ring.bucket
        else
          -- The same bucket, or a clock that stepped back.
          first = struct.unpack('<I4', ring.text, 13) + cost
          counters = string.sub(ring.text, 17, last)
        end
      end
      counters = struct.pack('<I4', first) .. counters
      used = used + cost
      write_ring(ring.key, newest, used, ring.seconds, ring.width, counters)
    end
    return used, (newest + 60) * ring.width
  end,
}
