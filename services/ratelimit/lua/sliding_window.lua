-- Decides one or several sliding windows and, when every one of them admits, consumes from all.
-- Times are microseconds since 1970, up to 2^53 exact in a Lua number. The rule stands in window.py.
--
-- KEYS[i]           a ring, named once per call; all of them in one hash slot
-- ARGV[1]           now, for tests; empty for the server's own clock
-- ARGV[2]           '1' to consume what is admitted, '0' to look
-- ARGV[3i .. 3i+2]  bucket width, limit and cost of KEYS[i]
-- returns           {admitted, now, then for each key: used, reset_at, retry_at}
--                   retry_at: 0 fits already, -1 never fits
--
-- A ring is a string: index of its newest bucket and running sum, then what each bucket admitted,
-- the newest first: 250 bytes at most. A denial writes nothing.

local BUCKETS = 60
local HEADER = '<I6I4'
local COUNTER = '<I4'
local HEADER_BYTES = 10

local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
else
  now = tonumber(ARGV[1])
end

local function counter(ring, age)
  return (struct.unpack(COUNTER, ring.text, HEADER_BYTES + 4 * age + 1))
end

local function write(ring, newest, used, counters)
  -- Redis expires in milliseconds; a ring must not go before its last counter has left.
  local ttl = math.ceil(((newest + BUCKETS) * ring.width - now) / 1000)
  redis.call('SET', ring.key, struct.pack(HEADER, newest, used) .. counters, 'PX', ttl)
end

local function read(key, width)
  local ring = { key = key, width = width, bucket = math.floor(now / width), used = 0, live = 0 }
  local text = redis.call('GET', key)
  if not text then
    return ring
  end
  local newest, used = struct.unpack(HEADER, text)
  if newest > ring.bucket + BUCKETS then
    -- Written by a clock far ahead: let it age from here. The only write that a denial may cause.
    newest = ring.bucket
    write(ring, newest, used, string.sub(text, HEADER_BYTES + 1))
  end
  local passed = ring.bucket - newest
  if passed >= BUCKETS then
    return ring
  end
  ring.text = text
  ring.newest = newest
  local written = (#text - HEADER_BYTES) / 4
  ring.live = math.min(written, BUCKETS - math.max(passed, 0))
  for age = ring.live, written - 1 do
    used = used - counter(ring, age)
  end
  ring.used = used
  return ring
end

local function reset_at(ring)
  if ring.used == 0 then
    return now
  end
  return (ring.newest + BUCKETS) * ring.width
end

local function retry_at(ring, limit, cost)
  local excess = ring.used + cost - limit
  if excess <= 0 then
    return 0
  end
  for age = ring.live - 1, 0, -1 do
    excess = excess - counter(ring, age)
    if excess <= 0 then
      return (ring.newest - age + BUCKETS) * ring.width
    end
  end
  return -1
end

local function consume(ring, cost)
  local kept = ''
  local newest = ring.bucket
  local first = cost
  if ring.live > 0 then
    local last_byte = HEADER_BYTES + 4 * ring.live
    if newest <= ring.newest then
      -- The same bucket, or a clock that stepped back.
      newest = ring.newest
      first = counter(ring, 0) + cost
      kept = string.sub(ring.text, HEADER_BYTES + 5, last_byte)
    else
      kept = string.rep('\0', 4 * (newest - ring.newest - 1))
        .. string.sub(ring.text, HEADER_BYTES + 1, last_byte)
    end
  end
  ring.used = ring.used + cost
  ring.newest = newest
  write(ring, newest, ring.used, struct.pack(COUNTER, first) .. kept)
end

local rings = {}
local retries = {}
local admitted = 1
for i, key in ipairs(KEYS) do
  rings[i] = read(key, tonumber(ARGV[3 * i]))
  retries[i] = retry_at(rings[i], tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2]))
  if retries[i] ~= 0 then
    admitted = 0
  end
end

local reply = { admitted, now }
for i, ring in ipairs(rings) do
  if admitted == 1 and ARGV[2] == '1' then
    consume(ring, tonumber(ARGV[3 * i + 2]))
  end
  reply[#reply + 1] = ring.used
  reply[#reply + 1] = reset_at(ring)
  reply[#reply + 1] = retries[i]
end
return reply
