-- Decides checks that do not depend on each other, in their order. When every limit of a check
-- admits, and it is asked to, it consumes from all of them; a denial writes nothing.
--
-- KEYS     a counter for each charge of each check; those of one check differ; all in one slot
-- ARGV[2]  '1' to consume what is admitted, '0' to look
-- ARGV     from 3 on, for each check: how many charges follow, and for each of them its algorithm,
--          '1' when it only watches or '0', window and quota as its algorithm wants them, and cost
-- Returns  {now, then for each charge: retry_at, used, reset_at}
--          retry_at: 0 fits already, -1 never fits

local consumes = ARGV[2] == '1'
-- Room for one charge from the start: a table that grows costs more than all of this.
local reply, filled, position, at, last = { now, 0, 0, 0 }, 1, 0, 3, #ARGV
while at <= last do
  local size, admitted, counters = tonumber(ARGV[at]), consumes, {}
  for i = 1, size do
    local own = at + 5 * i - 4
    local retry_at, used, reset_at, counter = algorithms[ARGV[own]].look(
      KEYS[position + i], ARGV[own + 2], tonumber(ARGV[own + 3]), tonumber(ARGV[own + 4])
    )
    if not counter and ARGV[own + 1] == '0' then
      admitted = false
    end
    counters[i] = counter
    reply[filled + 1], reply[filled + 2], reply[filled + 3] = retry_at, used, reset_at
    filled = filled + 3
  end
  if admitted then
    for i = 1, size do
      if counters[i] then
        local own, slot = at + 5 * i - 4, filled - 3 * (size - i)
        local used, reset_at = algorithms[ARGV[own]].consume(counters[i], tonumber(ARGV[own + 4]))
        reply[slot - 1], reply[slot] = used, reset_at
      end
    end
  end
  position = position + size
  at = at + 1 + 5 * size
end
return reply
