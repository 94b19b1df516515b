-- What the probes of PostgreSQL ask. Lags are seconds, positions of the log are bytes since its start.

-- name: writable
-- Returns no row when writes are taken, two rows of a standby, and one where transactions are set to
-- read only.
SELECT FROM generate_series(
    1,
    CASE
        WHEN pg_is_in_recovery() THEN 2
        WHEN current_setting('transaction_read_only') = 'on' THEN 1
        ELSE 0
    END
)

-- name: replication
-- Returns how many standbys are connected, how many of them this role may not look into, what the
-- worst lag is, how far the log is (NULL on a standby), and how much of it every standby has replayed.
SELECT
    count(*) AS standbys,
    count(*) FILTER (WHERE state IS NULL) AS hidden,
    coalesce(max(extract(epoch FROM replay_lag)), 0)::float8 AS lag,
    CASE
        WHEN NOT pg_is_in_recovery() THEN (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint
    END AS position,
    (min(coalesce(replay_lsn, '0/0'::pg_lsn)) - '0/0'::pg_lsn)::bigint AS replayed
FROM pg_stat_replication
WHERE state IS DISTINCT FROM 'backup'
