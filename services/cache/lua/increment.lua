-- Adds to a counter, exactly: Redis adds, for Lua knows no integers of 64 bits.
--
-- ARGV: 8 what to add, in decimal; a counter that is created has its value in the frame
-- Returns {0} changed, {1, value in decimal, what was replaced} or {2} beyond 64 bits.
local frame, old = standing()
if not frame then return CHANGED end
if frame == '' then
  redis.call('UNLINK', KEYS[3])
  create(charged(ARGV[5]))
  return {1, string.sub(ARGV[5], 1 + struct.unpack('<I2', ARGV[5], 3)), string.sub(old, 1, 57)}
end
local value_at = 1 + struct.unpack('<I2', frame, 3)
redis.call('SET', KEYS[3], string.sub(frame, value_at))
local sum = redis.pcall('INCRBY', KEYS[3], ARGV[8])
local value = redis.call('GET', KEYS[3])
redis.call('DEL', KEYS[3])
if type(sum) == 'table' then
  if string.find(sum.err, 'overflow', 1, true) then return {2} end
  return sum
end
redis.call('SET', KEYS[1], string.sub(frame, 1, 4) .. ARGV[4] .. string.sub(frame, 13, value_at - 1)
  .. value, 'KEEPTTL')
void_lease()
return {1, value, ''}
