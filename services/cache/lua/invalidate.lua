#!lua flags=allow-oom
-- Adds a change to a tenant's history and says so to whoever listens.
-- Runs in a full store too (allow-oom): what is stale is not served for want of memory.
--
-- KEYS: 1 head ("<epoch>-<sequence>"), 2 log (stream), 3 marks (hash), all of one tenant
-- ARGV: 1 channel, 2 what to say there, 3 the most fields of the marks, 4 about how many records the
--       log keeps, 5 the record (JSON), 6 the mark of what an event did, or '', 7 what carries a lower
--       stamp may not be written any more, or '', 8... fields to mark
-- Returns {epoch, sequence, the one before, milliseconds since 1970, 1 if everything is dead now},
-- or nothing where there is no history that can be relied on: begin it and try again.
--
-- The sequence orders; that it follows the clock (microseconds since 1970) keeps one that a failover
-- set back from being used twice. It is exact below 2^53. With more marks than allowed, all of them
-- are dropped and everything before is dead instead.
local head = redis.pcall('GET', KEYS[1])
local epoch, last = string.match(type(head) == 'string' and head or '', '^([0-9a-f]+)%-(%d+)$')
if not epoch or tonumber(last) >= 2 ^ 53 or redis.pcall('HGET', KEYS[3], 'epoch') ~= epoch then
  return false
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local sequence = string.format('%.0f', math.max(now, tonumber(last) + 1))
redis.call('SET', KEYS[1], epoch .. '-' .. sequence)

local everything = 0
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[3], 'retired', ARGV[7], 'announced', sequence)
end
if #ARGV > 7 then
  local marks = {}
  for i = 8, #ARGV do
    marks[#marks + 1] = ARGV[i]
    marks[#marks + 1] = sequence .. ARGV[6]
  end
  redis.call('HSET', KEYS[3], unpack(marks))
  if redis.call('HLEN', KEYS[3]) > tonumber(ARGV[3]) then
    everything = 1
    redis.call('UNLINK', KEYS[3])
    redis.call('HSET', KEYS[3], 'epoch', epoch, 'floor', sequence)
  end
end

local milliseconds = string.format('%.0f', math.floor(now / 1000))
local record = {'XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], sequence .. '-0',
  'p', last, 'm', milliseconds, 'r', ARGV[5]}
if everything == 1 then
  record[#record + 1] = 'a'
  record[#record + 1] = '1'
end
if type(redis.pcall(unpack(record))) == 'table' then
  -- What lies there is no log, or one that has outlived its head.
  redis.call('UNLINK', KEYS[2])
  redis.call(unpack(record))
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
return {epoch, sequence, last, milliseconds, everything}
