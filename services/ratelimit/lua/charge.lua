-- Consumes whatever the limits say, because it has taken place.
--
-- KEYS     a counter for each charge, perhaps a marker before them; they differ; all in one slot
-- ARGV[2]  milliseconds that the marker stays, '' when there is none
-- ARGV     from 3 on, for each charge: its algorithm, window and quota as that wants them, and cost
-- Returns  {now, then for each charge: retry_at, used, reset_at}, or {now, -1} when the marker was
--          there and nothing is charged; retry_at is that of the cost before: 0 it fitted, -1 it
--          never will

local first = 1
if ARGV[2] ~= '' then
  if not redis.call('SET', KEYS[1], '', 'PX', ARGV[2], 'NX') then
    return { now, -1 }
  end
  first = 2
end
local reply = { now }
for i = first, #KEYS do
  local at, slot = 4 * (i - first) + 3, 3 * (i - first) + 2
  local algorithm, cost = algorithms[ARGV[at]], tonumber(ARGV[at + 3])
  local retry_at, _, _, counter =
    algorithm.look(KEYS[i], ARGV[at + 1], tonumber(ARGV[at + 2]), cost, true)
  reply[slot] = retry_at
  reply[slot + 1], reply[slot + 2] = algorithm.consume(counter, cost)
end
return reply
