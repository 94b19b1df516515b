-- Books a permanent entry, or more bytes for one; or says what has to go first.
--
-- What is booked under a name is kept in `held`: the class, a zero byte, then 13 bytes for each
-- entry that was written under the name and is not settled yet: who it is (9) and its bytes (4).
-- Times are milliseconds since 1970.
-- KEYS: 1 usage (hash: entries, bytes, class:<name>), 2 held (hash), 3 names by when they were used
--       last (sorted set of the class)
-- ARGV: 1 now or '' for Redis's clock, 2 entries at most or -1, 3 bytes at most or -1, 4 class,
--       5 bytes of the class at most or -1, 6 name, 7 who it is, 8 its bytes, 9 '' or how many of
--       them are added to what is booked for it
-- Returns {1 booked}; {0 refused, 'entries' | 'bytes' | 'class', how much is used}; or
-- {2 make room first, then name and `held` of what was not used for longest}.
local VICTIMS, LOOKED_AT, KEPT = 16, 24, 4
local class, name, who = ARGV[4], ARGV[6], ARGV[7]

local function parse(text)
  local zero = string.find(text, '\0', 1, true)
  local items, bytes = {}, 0
  for at = zero + 1, #text - 12, 13 do
    local size = struct.unpack('<I4', text, at + 9)
    items[#items + 1] = {who = string.sub(text, at, at + 8), bytes = size}
    bytes = bytes + size
  end
  return string.sub(text, 1, zero - 1), items, bytes
end

local function whole(number) return string.format('%.0f', number) end

local old_text = redis.call('HGET', KEYS[2], name)
local old_class, items, old_bytes = class, {}, 0
if old_text then old_class, items, old_bytes = parse(old_text) end

-- What was used less recently than everything else, until `bytes` and `entries` would be free; and
-- then up to `spare` bytes more, so that not every write has to wait for this.
local function victims(bytes, entries, spare)
  local reply = {2}
  for _, member in ipairs(redis.call('ZRANGE', KEYS[3], 0, LOOKED_AT - 1)) do
    local text = member ~= name and redis.call('HGET', KEYS[2], member)
    local its_class, _, its_bytes
    if text then its_class, _, its_bytes = parse(text) end
    if text and its_class == class then
      if bytes <= 0 and entries <= 0 then spare = spare - its_bytes end
      if spare < 0 or #reply > 2 * VICTIMS then break end
      reply[#reply + 1] = member
      reply[#reply + 1] = text
      bytes, entries = bytes - its_bytes, entries - 1
    elseif member ~= name then
      -- It is booked elsewhere or not at all.
      redis.call('ZREM', KEYS[3], member)
      reply.cleaned = true
    end
  end
  return reply
end

local used = redis.call('HMGET', KEYS[1], 'entries', 'bytes', 'class:' .. class)
for n = 1, 3 do used[n] = tonumber(used[n] or 0) end
local size, more = tonumber(ARGV[8]), tonumber(ARGV[9])
-- What it replaces will be gone: the books count it until it is settled, but it takes no room.
local wanted = more or (size - old_bytes)
local in_class = old_class == class and wanted or size
local over = {
  entries = tonumber(ARGV[2]) >= 0 and not old_text and used[1] + 1 - tonumber(ARGV[2]) or 0,
  bytes = tonumber(ARGV[3]) >= 0 and wanted > 0 and used[2] + wanted - tonumber(ARGV[3]) or 0,
  class = tonumber(ARGV[5]) >= 0 and in_class > 0 and used[3] + in_class - tonumber(ARGV[5]) or 0,
}
local bytes_over = math.max(over.bytes, over.class)
if bytes_over > 0 or over.entries > 0 then
  local reply = victims(bytes_over, over.entries, used[3] / 64)
  if #reply > 1 or reply.cleaned then return reply end
  if over.class > 0 then return {0, 'class', used[3]} end
  if over.bytes > 0 then return {0, 'bytes', used[2]} end
  return {0, 'entries', used[1]}
end

local added, known = size, nil
for _, item in ipairs(items) do
  if item.who == who then known = item end
end
if known then
  added = more or (size - known.bytes)
  known.bytes = math.max(0, known.bytes + added)
else
  items[#items + 1] = {who = who, bytes = size}
  if #items > KEPT then
    -- Whoever wrote the oldest did not live to settle it.
    added = added - table.remove(items, 1).bytes
  end
end
local text = class .. '\0'
for _, item in ipairs(items) do text = text .. item.who .. struct.pack('<I4', item.bytes) end
redis.call('HSET', KEYS[2], name, text)
if not old_text then redis.call('HINCRBY', KEYS[1], 'entries', 1) end
redis.call('HINCRBY', KEYS[1], 'bytes', whole(added))
if old_class ~= class then
  redis.call('HINCRBY', KEYS[1], 'class:' .. old_class, whole(0 - old_bytes))
  added = added + old_bytes
end
redis.call('HINCRBY', KEYS[1], 'class:' .. class, whole(added))
local now = ARGV[1]
if now == '' then
  local time = redis.call('TIME')
  now = time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000))
end
redis.call('ZADD', KEYS[3], now, name)
return {1}
