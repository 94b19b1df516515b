-- Every statement of the cache service. They run across tenants, as the tenant *. Arrays of one
-- statement are columns of one table.

-- name: add_statistics
-- Adds what one replica counted, in minutes since 1970 and milliseconds, unless the batch of this
-- id was added before; returns 1, or nothing then.
WITH batch AS (
    INSERT INTO cache.statistics_batches (batch_id) VALUES ($1)
    ON CONFLICT DO NOTHING
    RETURNING batch_id
),
added AS (
    INSERT INTO cache.cache_statistics AS known (
        tenant, namespace, ttl_class, minute,
        hits, stale_hits, computations, computations_saved, saved_ms, fills_refused,
        miss_cold, miss_unreadable, miss_expired, miss_evicted,
        miss_invalidated_by_key, miss_invalidated_by_tag, miss_invalidated_by_prefix,
        miss_invalidated_by_namespace, miss_invalidated_by_event,
        miss_lease_lost, miss_store_unavailable
    )
    SELECT
        tenant, namespace, ttl_class, to_timestamp(minute * 60),
        hits, stale_hits, computations, computations_saved, saved_ms, fills_refused,
        miss_cold, miss_unreadable, miss_expired, miss_evicted,
        miss_invalidated_by_key, miss_invalidated_by_tag, miss_invalidated_by_prefix,
        miss_invalidated_by_namespace, miss_invalidated_by_event,
        miss_lease_lost, miss_store_unavailable
    FROM batch, unnest(
        $2::text[], $3::text[], $4::text[], $5::bigint[],
        $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
        $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[],
        $16::bigint[], $17::bigint[], $18::bigint[],
        $19::bigint[], $20::bigint[],
        $21::bigint[], $22::bigint[]
    ) AS counted (
        tenant, namespace, ttl_class, minute,
        hits, stale_hits, computations, computations_saved, saved_ms, fills_refused,
        miss_cold, miss_unreadable, miss_expired, miss_evicted,
        miss_invalidated_by_key, miss_invalidated_by_tag, miss_invalidated_by_prefix,
        miss_invalidated_by_namespace, miss_invalidated_by_event,
        miss_lease_lost, miss_store_unavailable
    )
    -- In one order, so that two replicas with the same buckets wait for each other instead of
    -- deadlocking.
    ORDER BY tenant, namespace, ttl_class, minute
    ON CONFLICT (tenant, namespace, ttl_class, minute) DO UPDATE SET
        hits = known.hits + excluded.hits,
        stale_hits = known.stale_hits + excluded.stale_hits,
        computations = known.computations + excluded.computations,
        computations_saved = known.computations_saved + excluded.computations_saved,
        saved_ms = known.saved_ms + excluded.saved_ms,
        fills_refused = known.fills_refused + excluded.fills_refused,
        miss_cold = known.miss_cold + excluded.miss_cold,
        miss_unreadable = known.miss_unreadable + excluded.miss_unreadable,
        miss_expired = known.miss_expired + excluded.miss_expired,
        miss_evicted = known.miss_evicted + excluded.miss_evicted,
        miss_invalidated_by_key =
            known.miss_invalidated_by_key + excluded.miss_invalidated_by_key,
        miss_invalidated_by_tag =
            known.miss_invalidated_by_tag + excluded.miss_invalidated_by_tag,
        miss_invalidated_by_prefix =
            known.miss_invalidated_by_prefix + excluded.miss_invalidated_by_prefix,
        miss_invalidated_by_namespace =
            known.miss_invalidated_by_namespace + excluded.miss_invalidated_by_namespace,
        miss_invalidated_by_event =
            known.miss_invalidated_by_event + excluded.miss_invalidated_by_event,
        miss_lease_lost = known.miss_lease_lost + excluded.miss_lease_lost,
        miss_store_unavailable =
            known.miss_store_unavailable + excluded.miss_store_unavailable
)
SELECT 1 FROM batch

-- name: delete_old_statistics
-- Deletes at most $2 rows older than $1; returns how many it was.
SELECT cache.delete_old_statistics($1::interval, $2::integer)
