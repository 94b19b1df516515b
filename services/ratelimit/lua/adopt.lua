-- Keeps leases that were granted without asking here, however many places there are.
--
-- ARGV: 1 now, then of each lease, of which there are 100 at most: the lease, when it ends
local kept = 0
if type(redis.pcall('ZCARD', KEYS[1])) ~= 'number' then redis.call('DEL', KEYS[1]) end
for n = 2, #ARGV, 2 do
  local ends = tonumber(ARGV[n + 1])
  if ends > now and ends > end_of(ARGV[n]) then
    redis.call('ZADD', KEYS[1], digits(ends), ARGV[n])
    kept = kept + 1
  end
end
if kept > 0 then expire(end_at(-1)) end
return kept
