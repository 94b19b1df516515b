-- Removes an entry that is known to be dead, and its items.
--
-- KEYS: 1 entry, 2 items
-- ARGV: 1 version and 2 stamp that were judged, 8 bytes each as they stand in a frame: a renewal
--       changes the stamp alone
-- Returns 1, or 0 when something else stands there by now.
--
-- A lease on it stays: what is being computed now is not dead.
local judged = redis.pcall('GETRANGE', KEYS[1], 4, 43)
if type(judged) == 'table' or string.sub(judged, 1, 8) ~= ARGV[1]
    or string.sub(judged, 33, 40) ~= ARGV[2] then
  return 0
end
redis.call('UNLINK', KEYS[1], KEYS[2])
return 1
