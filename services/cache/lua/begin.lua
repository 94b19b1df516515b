#!lua flags=allow-oom
-- Gives a tenant's history a beginning where it has none, or not one that can be relied on.
-- Runs in a full store too (allow-oom): without a history nothing can be read or invalidated.
--
-- KEYS: 1 head ("<epoch>-<sequence>"), 2 log (stream), 3 marks (hash), all of one tenant
-- ARGV: 1 the epoch of a new beginning (hexadecimal), 2 the epoch of a history that is known to have
--       lost changes, or '', 3 a sequence that has been used, or '0'
-- Returns the head. Sequences are microseconds since 1970 or above, whole numbers below 2^53.
--
-- What stood there before is relied on if head and marks are of one epoch, so that the store may
-- have lost either, and if it has not fallen behind what was used already. A beginning is above all
-- that went before: whatever carries an older stamp is dead from then on.
local BEYOND = 2 ^ 53

-- A sequence, or 0 for what is none: beyond, adding one changes nothing, and it would stay for ever.
local function sequence_of(text)
  local number = type(text) == 'string' and tonumber(text) or 0
  return number >= 0 and number < BEYOND and number or 0
end

local head = redis.pcall('GET', KEYS[1])
local epoch, last = string.match(type(head) == 'string' and head or '', '^([0-9a-f]+)%-(%d+)$')
last = sequence_of(last)
if last == 0 then epoch = nil end
local used = sequence_of(ARGV[3])
local marks_epoch = redis.pcall('HGET', KEYS[3], 'epoch')
if epoch and marks_epoch == epoch and epoch ~= ARGV[2] and last >= used then return head end

local floor = sequence_of(redis.pcall('HGET', KEYS[3], 'floor'))
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local sequence = string.format('%.0f', math.max(now, last + 1, used + 1, floor + 1))
head = ARGV[1] .. '-' .. sequence
redis.call('SET', KEYS[1], head)
redis.call('UNLINK', KEYS[2], KEYS[3])
redis.call('HSET', KEYS[3], 'epoch', ARGV[1], 'floor', sequence)
return head
