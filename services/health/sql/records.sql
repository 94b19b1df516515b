-- What observers write: minutes, hours, incidents. Arrays of one statement are columns of one table;
-- latencies are in milliseconds, other lengths in seconds.

-- name: add_minutes
-- Adds what one observer ($2) saw, in minutes since 1970, to its minutes and hours, unless the batch
-- of this id ($1) was added before; returns 1, or nothing then.
WITH batch AS (
    INSERT INTO health.batches (batch_id) VALUES ($1)
    ON CONFLICT DO NOTHING
    RETURNING batch_id
),
seen AS (
    SELECT target, to_timestamp(minutes * 60::bigint) AS minute, probes, failures,
        latency_sum_ms, latency_max_ms, healthy_seconds, degraded_seconds, unhealthy_seconds,
        unknown_seconds, maintenance_seconds, worst_state, message, request_id
    FROM batch, unnest(
        $3::text[], $4::bigint[], $5::integer[], $6::integer[], $7::float8[], $8::float8[],
        $9::float8[], $10::float8[], $11::float8[], $12::float8[], $13::float8[],
        $14::text[], $15::text[], $16::text[]
    ) AS seen (
        target, minutes, probes, failures, latency_sum_ms, latency_max_ms,
        healthy_seconds, degraded_seconds, unhealthy_seconds, unknown_seconds,
        maintenance_seconds, worst_state, message, request_id
    )
),
hours AS (
    INSERT INTO health.system_health_hours AS known (
        target, observer, hour, probes, failures, latency_sum_ms, latency_max_ms,
        healthy_seconds, degraded_seconds, unhealthy_seconds, unknown_seconds,
        maintenance_seconds
    )
    SELECT target, $2::text, date_trunc('hour', minute, 'UTC') AS hour, sum(probes),
        sum(failures), sum(latency_sum_ms), max(latency_max_ms), sum(healthy_seconds),
        sum(degraded_seconds), sum(unhealthy_seconds), sum(unknown_seconds),
        sum(maintenance_seconds)
    FROM seen
    GROUP BY target, hour
    ON CONFLICT (target, hour, observer) DO UPDATE SET
        probes = known.probes + excluded.probes,
        failures = known.failures + excluded.failures,
        latency_sum_ms = known.latency_sum_ms + excluded.latency_sum_ms,
        latency_max_ms = greatest(known.latency_max_ms, excluded.latency_max_ms),
        healthy_seconds = known.healthy_seconds + excluded.healthy_seconds,
        degraded_seconds = known.degraded_seconds + excluded.degraded_seconds,
        unhealthy_seconds = known.unhealthy_seconds + excluded.unhealthy_seconds,
        unknown_seconds = known.unknown_seconds + excluded.unknown_seconds,
        maintenance_seconds = known.maintenance_seconds + excluded.maintenance_seconds
),
minutes AS (
    INSERT INTO health.system_health_logs AS known (
        target, observer, minute, probes, failures, latency_sum_ms, latency_max_ms,
        healthy_seconds, degraded_seconds, unhealthy_seconds, unknown_seconds,
        maintenance_seconds, worst_state, message, request_id
    )
    SELECT target, $2::text, minute, probes, failures, latency_sum_ms, latency_max_ms,
        healthy_seconds, degraded_seconds, unhealthy_seconds, unknown_seconds,
        maintenance_seconds, worst_state, message, request_id
    FROM seen
    -- The minute in which an observer restarts comes in two parts.
    ON CONFLICT (target, minute, observer) DO UPDATE SET
        probes = known.probes + excluded.probes,
        failures = known.failures + excluded.failures,
        latency_sum_ms = known.latency_sum_ms + excluded.latency_sum_ms,
        latency_max_ms = greatest(known.latency_max_ms, excluded.latency_max_ms),
        healthy_seconds = known.healthy_seconds + excluded.healthy_seconds,
        degraded_seconds = known.degraded_seconds + excluded.degraded_seconds,
        unhealthy_seconds = known.unhealthy_seconds + excluded.unhealthy_seconds,
        unknown_seconds = known.unknown_seconds + excluded.unknown_seconds,
        maintenance_seconds = known.maintenance_seconds + excluded.maintenance_seconds,
        (worst_state, message, request_id) = (
            SELECT (worse).worst_state, (worse).message, (worse).request_id
            FROM (
                SELECT CASE
                    WHEN health.badness(excluded.worst_state) > health.badness(known.worst_state)
                    THEN excluded ELSE known
                END AS worse
            ) AS chosen
        )
)
SELECT 1 FROM batch

-- name: lock_incidents
-- Lets one observer at a time compare what it saw with what is known, until its transaction ends.
SELECT pg_advisory_xact_lock(hashtext('health.incidents'))

-- name: find_incident
-- Returns the incident of a target that takes place within a time: the open one, else the newest;
-- `watched` says whether its observer has reported on the target within five minutes.
SELECT i.incident_id, i.target, i.observer, i.worst_state, i.start_time, i.end_time, i.because,
    i.message, i.request_id,
    EXISTS (
        SELECT FROM health.system_health_logs AS l
        WHERE l.target = i.target AND l.observer = i.observer
            AND l.minute > now() - interval '5 minutes'
    ) AS watched
FROM health.incidents AS i
WHERE i.target = $1
    AND i.start_time <= coalesce($3::timestamptz, 'infinity')
    AND coalesce(i.end_time, 'infinity') >= $2::timestamptz
ORDER BY i.end_time IS NULL DESC, i.start_time DESC
LIMIT 1

-- name: insert_incident
-- Adds an incident.
INSERT INTO health.incidents (
    incident_id, target, observer, worst_state, start_time, end_time, because, message, request_id
)
VALUES ($1::uuid, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: update_incident
-- Changes an incident: who watches it, and how it went on.
UPDATE health.incidents
SET observer = $2, worst_state = $3, start_time = $4, end_time = $5, because = $6, message = $7,
    request_id = $8
WHERE incident_id = $1::uuid

-- name: end_incidents
-- Ends the open incidents of targets ($2) that an observer ($1) sees healthy since some time ($3),
-- if they are its own, as after its restart, or those of one that is silent.
UPDATE health.incidents AS i
SET end_time = greatest(i.start_time, well.since)
FROM unnest($2::text[], $3::timestamptz[]) AS well (target, since)
WHERE i.target = well.target
    AND i.end_time IS NULL
    AND (
        i.observer = $1
        OR NOT EXISTS (
            SELECT FROM health.system_health_logs AS l
            WHERE l.target = i.target AND l.observer = i.observer
                AND l.minute > now() - interval '5 minutes'
        )
    )
