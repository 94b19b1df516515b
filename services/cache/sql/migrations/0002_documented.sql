-- What every column means; update_time kept by the database; a cleanup for people.

-- Waits for no writer and stops none: a comment's lock is one that only changes of a table want.
COMMENT ON COLUMN cache.cache_statistics.tenant IS 'Whose reads and fills these were.';
COMMENT ON COLUMN cache.cache_statistics.minute IS
    'When the minute began, by the clock of the Redis behind the cache.';
COMMENT ON COLUMN cache.cache_statistics.miss_unreadable IS
    'Misses where something was stored that this version cannot read.';
COMMENT ON COLUMN cache.cache_statistics.miss_expired IS 'Misses of entries whose time was over.';
COMMENT ON COLUMN cache.cache_statistics.miss_evicted IS
    'Misses of entries that had to make room for others.';
COMMENT ON COLUMN cache.cache_statistics.miss_invalidated_by_key IS
    'Misses of entries that were deleted, or invalidated by their key.';
COMMENT ON COLUMN cache.cache_statistics.miss_invalidated_by_tag IS
    'Misses of entries one of whose tags was invalidated.';
COMMENT ON COLUMN cache.cache_statistics.miss_invalidated_by_prefix IS
    'Misses of entries with a prefix that was invalidated.';
COMMENT ON COLUMN cache.cache_statistics.miss_invalidated_by_namespace IS
    'Misses of entries whose namespace was invalidated.';
COMMENT ON COLUMN cache.cache_statistics.miss_invalidated_by_event IS
    'Misses of entries that an event has invalidated.';
COMMENT ON COLUMN cache.cache_statistics.miss_lease_lost IS
    'Waits for a value of somebody else who then did not deliver one.';
COMMENT ON COLUMN cache.statistics_batches.batch_id IS 'Made by the replica that counted.';
COMMENT ON COLUMN cache.statistics_batches.create_time IS 'When it was added.';


CREATE FUNCTION cache.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.update_time := now();
    RETURN NEW;
END $$;
COMMENT ON FUNCTION cache.touch() IS 'Notes when a row was changed, whoever changes it.';
CREATE TRIGGER touch BEFORE UPDATE ON cache.cache_statistics
    FOR EACH ROW EXECUTE FUNCTION cache.touch();


CREATE FUNCTION cache.cleanup_cache_statistics(days integer DEFAULT 90) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    before text := coalesce(current_setting('mainstay.tenant', true), '');
    deleted integer;
BEGIN
    IF days < 1 THEN
        RAISE EXCEPTION 'days is %; keep at least 1', days USING ERRCODE = 'check_violation';
    END IF;
    PERFORM set_config('mainstay.tenant', '*', true);
    DELETE FROM cache.cache_statistics WHERE minute < now() - make_interval(days => days);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    PERFORM set_config('mainstay.tenant', before, true);
    RETURN deleted;
END $$;
COMMENT ON FUNCTION cache.cleanup_cache_statistics(integer) IS
    'Deletes all rows older than so many days at once, of all tenants; returns how many. For '
    'people: the service deletes a few at a time, by delete_old_statistics.';
-- It sees all tenants.
REVOKE EXECUTE ON FUNCTION cache.cleanup_cache_statistics(integer) FROM PUBLIC;
