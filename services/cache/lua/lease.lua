-- Grants the right to compute an entry to one caller at a time.
--
-- KEYS: 1 entry, 2 lease
-- ARGV: 1 token to grant (41 bytes), 2 milliseconds it lasts, 3 the version of the entry that was
--       judged: 8 bytes, '' for none, '*' for whatever is there, 4 '1' if who asks will wait
-- Returns {0 granted} | {1 held, milliseconds left} | {2 throttled, milliseconds left, error}
--       | {3 another entry stands there}.
--
-- What another program wrote under these keys counts as nothing, whatever its type, and so does a
-- lease that would never end.
if ARGV[3] ~= '*' then
  local head = redis.pcall('GETRANGE', KEYS[1], 0, 11)
  local version = ''
  if type(head) == 'string' and #head == 12 and string.byte(head, 1) == 0xC1 then
    version = string.sub(head, 5, 12)
  end
  if version ~= ARGV[3] then return {3} end
end
local held = redis.pcall('GET', KEYS[2])
if type(held) == 'string' then
  local left = redis.call('PTTL', KEYS[2])
  local mark = string.sub(held, 1, 1)
  if left >= 0 and mark == '!' then return {2, left, string.sub(held, 2)} end
  if left >= 0 and mark == 'L' then
    -- Whoever ends the lease publishes only if it is one byte longer than its token.
    if ARGV[4] == '1' and #held == #ARGV[1] then redis.call('APPEND', KEYS[2], 'w') end
    return {1, left}
  end
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {0}
