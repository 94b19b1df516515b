#!lua flags=allow-oom
-- Corrects what is booked for permanent entries; `held` is described in admit_permanent.lua.
-- Runs in a full store too (allow-oom): it writes what has become less.
--
-- KEYS: 1 usage, 2 held, 3 ... by when they were used last: one sorted set for each class
-- ARGV: 1 how many classes, then their names in the order of the keys, then for each correction:
--       name, who it is (9 bytes), what: 'gone', 'found' (book it unless something is booked under
--       the name) or 'bytes', bytes (of what was found, or to take off), the class of what was
--       found, and when that was used last in milliseconds since 1970
-- Nothing goes below zero.
local count = tonumber(ARGV[1])
local lru = {}
for n = 1, count do lru[ARGV[1 + n]] = KEYS[2 + n] end

local function add(field, amount)
  if amount == 0 then return end
  if redis.call('HINCRBY', KEYS[1], field, string.format('%.0f', amount)) < 0 then
    redis.call('HSET', KEYS[1], field, 0)
  end
end

local function found(name, who, bytes, class, used)
  if not lru[class] or redis.call('HEXISTS', KEYS[2], name) == 1 then return end
  redis.call('HSET', KEYS[2], name, class .. '\0' .. who .. struct.pack('<I4', bytes))
  redis.call('ZADD', lru[class], 'NX', used, name)
  add('entries', 1)
  add('bytes', bytes)
  add('class:' .. class, bytes)
end

-- Takes bytes off an item, or the item out, and returns what was taken and the text that is left.
local function without(text, at, what, bytes)
  local booked = struct.unpack('<I4', text, at + 9)
  local before, after = string.sub(text, 1, at - 1), string.sub(text, at + 13)
  if what == 'gone' then return booked, before .. after end
  local off = math.min(booked, bytes)
  local left = string.sub(text, at, at + 8) .. struct.pack('<I4', booked - off)
  return off, before .. left .. after
end

local function correct(name, who, what, bytes)
  local text = redis.call('HGET', KEYS[2], name)
  if not text then return end
  local zero = string.find(text, '\0', 1, true)
  local class = string.sub(text, 1, zero - 1)
  for at = zero + 1, #text - 12, 13 do
    if string.sub(text, at, at + 8) == who then
      local off, left = without(text, at, what, bytes)
      if #left > zero then
        redis.call('HSET', KEYS[2], name, left)
      else
        redis.call('HDEL', KEYS[2], name)
        if lru[class] then redis.call('ZREM', lru[class], name) end
        add('entries', -1)
      end
      add('bytes', -off)
      add('class:' .. class, -off)
      return
    end
  end
end

for n = count + 2, #ARGV, 6 do
  local name, who, what, bytes = ARGV[n], ARGV[n + 1], ARGV[n + 2], tonumber(ARGV[n + 3])
  if what == 'found' then
    found(name, who, bytes, ARGV[n + 4], ARGV[n + 5])
  else
    correct(name, who, what, bytes)
  end
end
return 0
