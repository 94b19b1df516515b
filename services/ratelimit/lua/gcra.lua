-- GCRA; the rule stands in gcra.py. Times are microseconds since 1970.
--
-- window: the emission interval in microseconds; quota: the burst.
-- A debt is a string of 21 bytes: when it is paid off, when it was written, and its interval.

local MAX_DEBT = 4503599627370496

local function write_debt(key, clock, owed, interval)
  local due = clock + owed
  local text = struct.pack('<I7I7I7', due, clock, interval)
  redis.call('SET', key, text, 'PX', ceil((due - now) / 1000))
end

local function span(units, interval)
  local micros = units * interval
  return micros < MAX_DEBT and micros or MAX_DEBT
end

algorithms.gcra = {
  look = function(key, window, quota, cost, keep)
    local interval, clock, owed = tonumber(window), now, 0
    local text = redis.pcall('GET', key)
    if text and #text % 4 == 1 then
      local due, written, stored = struct.unpack('<I7I7I7', text)
      if written > now then
        clock = written
      end
      if due > clock then
        owed = due - clock
      end
      if stored ~= interval then
        owed = span(ceil(owed / stored), interval)
      end
      if clock - now > span(quota, interval) then
        -- Written by a clock far ahead: let it shrink from here. The only write of a denial.
        clock = now
        if owed > 0 then
          write_debt(key, clock, owed, interval)
        end
      end
    elseif text then
      owed = span(foreign(text), interval)
    end
    local used, reset_at, retry_at = ceil(owed / interval), owed == 0 and now or clock + owed, 0
    local excess = owed + span(cost, interval) - span(quota, interval)
    if cost > quota then
      retry_at = -1
    elseif excess > 0 then
      retry_at = clock + excess
    end
    if retry_at ~= 0 and not keep then
      return retry_at, used, reset_at
    end
    return retry_at, used, reset_at, {
      key = key, interval = interval, burst = quota, clock = clock, owed = owed,
    }
  end,

  consume = function(debt, cost)
    local owed = math.min(debt.owed + span(cost, debt.interval), MAX_DEBT)
    write_debt(debt.key, debt.clock, owed, debt.interval)
    return ceil(owed / debt.interval), debt.clock + owed
  end,
}
