-- What the scripts that change a counter, a list or a set begin with.
--
-- A collection lives as long as it was judged to: what it was judged by (its times, its stamp, its
-- class and tags) stays as it is when items come and go, so that concurrent changes do not get in
-- each other's way.
-- KEYS: 1 entry, 2 lease, 3 items
-- ARGV: 1 and 2 what must stand there: bytes 12 to 43 and from 52 on of the judged frame's header, or
--       '' for nothing, 3 the version that counts as nothing (8 bytes) or '', 4 the version to give
--       (8 bytes), 5 the frame without its items: what it counts for is what they do not, and it is
--       written when nothing stands there, 6 milliseconds it lives then or '', 7 channel of those
--       who wait
local CHANGED = {0}

-- Returns the frame that stands there, '' for nothing, or nil when it is not what was judged; and
-- then what stands there, whatever it is, for whoever replaces it.
local function standing()
  -- Long enough for every header and a counter. Another type is another program's: nothing.
  local raw = redis.pcall('GETRANGE', KEYS[1], 0, 4095)
  if type(raw) == 'table' then raw = '' end
  local is_frame = #raw >= 57 and string.byte(raw, 1) == 0xC1 and string.byte(raw, 2) % 16 == 1
  if ARGV[1] == '' then
    local exists = is_frame and string.byte(raw, 53) ~= 5 and string.sub(raw, 5, 12) ~= ARGV[3]
    if exists then return nil, raw end
    return '', raw
  end
  if is_frame and string.sub(raw, 13, 44) == ARGV[1]
      and string.sub(raw, 53, 52 + #ARGV[2]) == ARGV[2] then
    return raw, raw
  end
  return nil, raw
end

local function charged(frame)
  if frame == '' then return 0 end
  return (struct.unpack('<I4', frame, 49))
end

-- Whoever computes the entry cannot store it any more.
local function void_lease()
  local lease = redis.pcall('GET', KEYS[2])
  if not lease then return end
  redis.call('DEL', KEYS[2])
  -- Another type is another program's. A lease that somebody waits for is one byte longer than its
  -- token.
  if type(lease) == 'string' and string.byte(lease, 1) == 76 and #lease == 42 and string.sub(lease, -1) == 'w' then
    redis.call('PUBLISH', ARGV[7], KEYS[1])
  end
end

-- Writes the frame that was given, with what it counts for.
local function create(bytes)
  local frame = string.sub(ARGV[5], 1, 48) .. struct.pack('<I4', bytes) .. string.sub(ARGV[5], 53)
  if ARGV[6] == '' then
    redis.call('SET', KEYS[1], frame)
  else
    redis.call('SET', KEYS[1], frame, 'PX', ARGV[6])
  end
  void_lease()
end

-- Gives the frame that stands there the new version and what it counts for.
local function change(bytes)
  redis.call('SETRANGE', KEYS[1], 4, ARGV[4])
  redis.call('SETRANGE', KEYS[1], 48, struct.pack('<I4', bytes))
  void_lease()
end

-- Lets items that were written anew end with their entry.
local function end_items()
  local left = redis.call('PTTL', KEYS[1])
  if left >= 0 then redis.call('PEXPIRE', KEYS[3], math.max(1, left)) end
end

local function remove()
  redis.call('UNLINK', KEYS[1], KEYS[3])
  void_lease()
end

local function sum_of_lengths(items, first, last)
  local bytes = 0
  for n = first, last do bytes = bytes + #items[n] end
  return bytes
end
