-- Fixed windows; the rule stands in fixed_window.py. Times are microseconds since 1970.
--
-- window: the length in microseconds of windows aligned to 1970, or 'begin end' of the one that runs;
-- quota: how much it may hold.
-- A count is a string of 22 bytes: begin and end of its window, and what it holds.

local MAX_COUNT = 9007199254740991

local function write_count(key, first, last, used)
  local text = struct.pack('<I7I7I8', first, last, used)
  redis.call('SET', key, text, 'PX', ceil((last - now) / 1000))
end

algorithms.fixed_window = {
  look = function(key, window, quota, cost, keep)
    local length, first, last, used = tonumber(window), nil, nil, 0
    if length then
      first = floor(now / length) * length
      last = first + length
    else
      first, last = string.match(window, '^(%d+) (%d+)$')
      first, last = tonumber(first), tonumber(last)
    end
    local text = redis.pcall('GET', key)
    if text and #text % 4 == 2 then
      local stored_first, stored_last, stored = struct.unpack('<I7I7I8', text)
      if stored_last > first then
        used = stored
        if stored_first > now and stored_first - now <= last - first then
          first, last = stored_first, stored_last
        elseif stored_first > now then
          -- Written by a clock far ahead: it counts in the window that runs. The only write of a
          -- denial.
          write_count(key, first, last, used)
        end
      end
    elseif text then
      used = foreign(text)
    end
    local reset_at, retry_at = used == 0 and now or last, 0
    if used + cost > quota then
      retry_at = cost > quota and -1 or last
      if not keep then
        return retry_at, used, reset_at
      end
    end
    return retry_at, used, reset_at, { key = key, first = first, last = last, used = used }
  end,

  consume = function(count, cost)
    local used = math.min(count.used + cost, MAX_COUNT)
    write_count(count.key, count.first, count.last, used)
    return used, count.last
  end,
}
