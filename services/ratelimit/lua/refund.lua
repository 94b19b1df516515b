-- Gives back what was consumed, never more than is there.
--
-- KEYS     a counter for each charge, perhaps a marker before them; they differ; all in one slot
-- ARGV[2]  milliseconds that the marker stays, '' when there is none
-- ARGV[3]  when it was consumed, in microseconds since 1970; '' for the oldest that is there
-- ARGV     from 4 on, for each charge: its algorithm, window and quota as that wants them, and cost
-- Returns  {now, 1 when the marker was there and nothing is given back, else 0, then for each
--          charge: what came back, and the retry_at of the same cost, used and reset_at}

local first, repeated = 1, 0
if ARGV[2] ~= '' then
  if not redis.call('SET', KEYS[1], '', 'PX', ARGV[2], 'NX') then
    repeated = 1
  end
  first = 2
end
local moment, reply = tonumber(ARGV[3]), { now, repeated }
for i = first, #KEYS do
  local at, slot, back = 4 * (i - first) + 4, 4 * (i - first) + 3, 0
  local algorithm, cost = algorithms[ARGV[at]], tonumber(ARGV[at + 3])
  local key, window, quota = KEYS[i], ARGV[at + 1], tonumber(ARGV[at + 2])
  if repeated == 0 then
    local _, _, _, counter = algorithm.look(key, window, quota, cost, true)
    back = algorithm.refund(counter, cost, moment)
  end
  reply[slot] = back
  reply[slot + 1], reply[slot + 2], reply[slot + 3] = algorithm.look(key, window, quota, cost)
end
return reply
