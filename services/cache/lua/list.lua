-- What the scripts that cut lists share: what the items that stay count for.
--
-- Few items are read and added up. Reading many would hold up everybody (10 MB: some ten
-- milliseconds), so that their share is taken from what Redis says the list occupies.
local READ_BYTES = 65536

-- Returns what the items of a list of `length` count for without those from `first` to `last`, of
-- `bytes` for all of them; or nil where that would be too much to read.
local function left_without(first, last, count, length, bytes, each)
  if count == 0 then return bytes end
  if count / length * bytes > READ_BYTES then return nil end
  local items = redis.call('LRANGE', KEYS[3], first, last)
  -- What was weighed before may have come out too low.
  return math.max(0, bytes - sum_of_lengths(items, 1, count) - count * each)
end

local function occupied()
  return redis.call('MEMORY', 'USAGE', KEYS[3], 'SAMPLES', 0)
end

-- Keeps the items from `first` to `last` and returns what they count for, about.
local function weighing_cut(first, last, bytes)
  local before = occupied()
  redis.call('LTRIM', KEYS[3], first, last)
  return math.ceil(bytes * math.min(1, occupied() / before))
end
