-- Says that a replica lives and whether it owes, and tells who else lives and who may owe.
-- Times are milliseconds since 1970.
--
-- KEYS[1]  sorted set: replica -> its last beat
-- KEYS[2]  sorted set: replica that may owe -> until when it is waited for
-- ARGV[1]  the replica
-- ARGV[2]  how long a beat counts
-- ARGV[3]  now, for tests; empty for the server's own clock
-- ARGV[4]  how long a replica is waited for
-- ARGV[5]  'owes'; or until when the replica was waited for as it last heard, when it owes nothing;
--          or empty
-- ARGV     from 6 on, once after the replica was cut off: who may owe since then, itself among them
-- returns  {replicas that live}, {replica that may owe, until when it is waited for, ...}

local now
if ARGV[3] == '' then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
else
  now = tonumber(ARGV[3])
end
local kept, patience = tonumber(ARGV[2]), tonumber(ARGV[4])
local latest = string.format('%.0f', now + patience)

redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - kept))
-- Beats from a clock that was far ahead would count until then. Who lives will beat again.
redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('(%.0f', now + kept), '+inf')
redis.call('PEXPIRE', KEYS[1], kept)

if ARGV[5] == 'owes' then
  redis.call('ZADD', KEYS[2], 'XX', latest, ARGV[1])
elseif ARGV[5] ~= '' then
  -- What was said before the replica was cut off, and comes late, names another time.
  local until_when = redis.call('ZSCORE', KEYS[2], ARGV[1])
  if until_when and tonumber(until_when) == tonumber(ARGV[5]) then
    redis.call('ZREM', KEYS[2], ARGV[1])
  end
end
for i = 6, #ARGV do
  redis.call('ZADD', KEYS[2], latest, ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('(%.0f', now))
-- A clock that has stepped back makes nobody wait longer.
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. latest, '+inf')) do
  redis.call('ZADD', KEYS[2], latest, name)
end
redis.call('PEXPIRE', KEYS[2], patience)
return { redis.call('ZRANGE', KEYS[1], 0, -1), redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES') }
