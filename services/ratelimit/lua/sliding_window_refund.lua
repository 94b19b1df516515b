-- Gives back what a ring holds: of the bucket of a moment, else of the oldest buckets first.
algorithms.sliding_window.refund = function(ring, cost, moment)
  local live, back, held = ring.live, 0, {}
  for i = 1, live do
    held[i] = struct.unpack('<I4', ring.text, 4 * i + 9)
  end
  local first, last = 1, live
  if moment then
    first = ring.newest - floor(moment / ring.width) + 1
    last = math.min(first, live)
  end
  for i = last, math.max(first, 1), -1 do
    local part = math.min(held[i], cost - back)
    held[i] = held[i] - part
    back = back + part
  end
  if back == 0 then
    return 0
  elseif back == ring.used then
    redis.call('DEL', ring.key)
    return back
  end
  local begin = 1
  while held[begin] == 0 do
    begin = begin + 1
  end
  local parts = {}
  for i = begin, live do
    parts[#parts + 1] = struct.pack('<I4', held[i])
  end
  local newest, used = ring.newest - begin + 1, ring.used - back
  write_ring(ring.key, newest, used, ring.seconds, ring.width, table.concat(parts))
  return back
end
