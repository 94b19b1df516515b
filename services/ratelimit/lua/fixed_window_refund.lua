-- Gives back what a window holds, unless the moment lies in an earlier one.
algorithms.fixed_window.refund = function(count, cost, moment)
  local back = math.min(cost, count.used)
  if back == 0 or moment and moment < count.first then
    return 0
  elseif back == count.used then
    redis.call('DEL', count.key)
  else
    write_count(count.key, count.first, count.last, count.used - back)
  end
  return back
end
