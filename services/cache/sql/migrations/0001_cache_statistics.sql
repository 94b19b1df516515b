-- What the cache counted, by the minute. Minutes are those of the Redis behind the cache; all other
-- times in here are this database's clock.

CREATE SCHEMA IF NOT EXISTS cache;
COMMENT ON SCHEMA cache IS 'Owned by the cache service: the history of its statistics.';


CREATE TABLE cache.cache_statistics (
    tenant text NOT NULL,
    namespace text NOT NULL,
    ttl_class text NOT NULL,
    minute timestamptz NOT NULL,
    hits bigint NOT NULL DEFAULT 0,
    stale_hits bigint NOT NULL DEFAULT 0,
    miss_cold bigint NOT NULL DEFAULT 0,
    miss_unreadable bigint NOT NULL DEFAULT 0,
    miss_expired bigint NOT NULL DEFAULT 0,
    miss_evicted bigint NOT NULL DEFAULT 0,
    miss_invalidated_by_key bigint NOT NULL DEFAULT 0,
    miss_invalidated_by_tag bigint NOT NULL DEFAULT 0,
    miss_invalidated_by_prefix bigint NOT NULL DEFAULT 0,
    miss_invalidated_by_namespace bigint NOT NULL DEFAULT 0,
    miss_invalidated_by_event bigint NOT NULL DEFAULT 0,
    miss_lease_lost bigint NOT NULL DEFAULT 0,
    miss_store_unavailable bigint NOT NULL DEFAULT 0,
    computations bigint NOT NULL DEFAULT 0,
    computations_saved bigint NOT NULL DEFAULT 0,
    saved_ms bigint NOT NULL DEFAULT 0,
    fills_refused bigint NOT NULL DEFAULT 0,
    misses bigint NOT NULL GENERATED ALWAYS AS (
        miss_cold + miss_unreadable + miss_expired + miss_evicted
        + miss_invalidated_by_key + miss_invalidated_by_tag + miss_invalidated_by_prefix
        + miss_invalidated_by_namespace + miss_invalidated_by_event
        + miss_lease_lost + miss_store_unavailable
    ) STORED,
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, ttl_class, minute),
    CONSTRAINT minute_is_whole CHECK (extract(epoch FROM minute) % 60 = 0),
    CONSTRAINT stale_are_hits CHECK (stale_hits BETWEEN 0 AND hits)
) WITH (
    -- Every replica adds to the row of its minute within that minute and the next: a few updates
    -- in place, of columns that no index has, and then none for ever.
    fillfactor = 80
);
-- Rows come in the order of time, give or take some minutes, and leave in it.
CREATE INDEX cache_statistics_by_minute ON cache.cache_statistics
    USING brin (minute) WITH (pages_per_range = 32);
COMMENT ON TABLE cache.cache_statistics IS
    'What the cache counted, by the minute: a row for each tenant, namespace and class.';
COMMENT ON COLUMN cache.cache_statistics.namespace IS
    '(other) for those that came when a replica had too many to count each.';
COMMENT ON COLUMN cache.cache_statistics.ttl_class IS
    'Empty where none is known: misses of callers that named none, TTLs of their own.';
COMMENT ON COLUMN cache.cache_statistics.hits IS
    'Reads that gave back a value, stale ones and negatives included.';
COMMENT ON COLUMN cache.cache_statistics.stale_hits IS 'Hits past their soft expiry.';
COMMENT ON COLUMN cache.cache_statistics.miss_cold IS
    'Misses of entries never written, as far as the replica knew.';
COMMENT ON COLUMN cache.cache_statistics.miss_store_unavailable IS
    'Reads that failed because the store did not answer.';
COMMENT ON COLUMN cache.cache_statistics.computations IS 'Fills that were stored.';
COMMENT ON COLUMN cache.cache_statistics.computations_saved IS
    'Hits on computed values, and callers that waited for another''s.';
COMMENT ON COLUMN cache.cache_statistics.saved_ms IS
    'Milliseconds that the computations which were saved would have taken.';
COMMENT ON COLUMN cache.cache_statistics.fills_refused IS 'Fills that were not stored.';
COMMENT ON COLUMN cache.cache_statistics.misses IS 'All misses, whatever the reason.';
COMMENT ON COLUMN cache.cache_statistics.update_time IS 'When a replica added to it last.';


CREATE TABLE cache.statistics_batches (
    batch_id uuid PRIMARY KEY,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX statistics_batches_by_time ON cache.statistics_batches (create_time);
COMMENT ON TABLE cache.statistics_batches IS
    'Batches that were added within the last day: one whose commit was not acknowledged is sent '
    'again, and must not be added twice. Holds nothing of tenants.';


CREATE FUNCTION cache.delete_old_statistics(keep interval, max_rows integer) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    DELETE FROM cache.statistics_batches WHERE create_time < now() - interval '1 day';
    WITH gone AS (
        DELETE FROM cache.cache_statistics
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM cache.cache_statistics
            WHERE minute < now() - keep
            LIMIT max_rows
        ))
        RETURNING 1
    )
    SELECT count(*) FROM gone;
END;
COMMENT ON FUNCTION cache.delete_old_statistics IS
    'Deletes at most so many rows that are older; returns how many it was, so that a caller goes on '
    'until it is none. Run as the tenant * it sees all tenants.';


-- A transaction names its tenant (or *, for the cache's own work) and sees no other's rows.
ALTER TABLE cache.cache_statistics ENABLE ROW LEVEL SECURITY;
ALTER TABLE cache.cache_statistics FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON cache.cache_statistics USING (
    tenant = current_setting('mainstay.tenant', true)
    OR current_setting('mainstay.tenant', true) = '*'
);
