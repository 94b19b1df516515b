-- Gives back what of a debt is not paid off yet; a full burst after a moment, all of it is.
algorithms.gcra.refund = function(debt, cost, moment)
  local interval, clock, owed = debt.interval, debt.clock, debt.owed
  local back = math.min(span(cost, interval), owed)
  if moment then
    back = math.min(back, math.max(0, moment + span(debt.burst, interval) - clock))
  end
  if back == 0 then
    return 0
  elseif back == owed then
    redis.call('DEL', debt.key)
  else
    write_debt(debt.key, clock, owed - back, interval)
  end
  return ceil(owed / interval) - ceil((owed - back) / interval)
end
