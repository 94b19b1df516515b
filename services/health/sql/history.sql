-- How targets were. What several observers saw of a minute or an hour is averaged: its known time is
-- that of the observer who knows most, its states are the shares that all saw. Lengths are in seconds.

-- name: sum_minutes
-- Returns sums of the minutes of a target ($1), in slices that begin at each of some times ($2, in
-- ascending order).
WITH averaged AS (
    SELECT
        minute,
        least(max(known), 60) / nullif(sum(known), 0) AS weight,
        sum(healthy_seconds) AS healthy,
        sum(degraded_seconds) AS degraded,
        sum(unhealthy_seconds) AS unhealthy,
        sum(maintenance_seconds) AS maintenance
    FROM health.system_health_logs, LATERAL (
        SELECT healthy_seconds + degraded_seconds + unhealthy_seconds + maintenance_seconds
    ) AS of_row (known)
    WHERE target = $1 AND minute >= ($2::timestamptz[])[1]
    GROUP BY minute
)
SELECT
    ($2::timestamptz[])[width_bucket(minute, $2::timestamptz[])] AS start_time,
    coalesce(sum(weight * healthy), 0) AS healthy,
    coalesce(sum(weight * degraded), 0) AS degraded,
    coalesce(sum(weight * unhealthy), 0) AS unhealthy,
    coalesce(sum(weight * maintenance), 0) AS maintenance
FROM averaged
GROUP BY 1
ORDER BY 1

-- name: sum_hours
-- Returns sums of the hours of a target ($1), in slices that begin at each of some times ($2, in
-- ascending order) and at midnight.
WITH averaged AS (
    SELECT
        hour,
        least(max(known), 3600) / nullif(sum(known), 0) AS weight,
        sum(healthy_seconds) AS healthy,
        sum(degraded_seconds) AS degraded,
        sum(unhealthy_seconds) AS unhealthy,
        sum(maintenance_seconds) AS maintenance
    FROM health.system_health_hours, LATERAL (
        SELECT healthy_seconds + degraded_seconds + unhealthy_seconds + maintenance_seconds
    ) AS of_row (known)
    WHERE target = $1 AND hour >= ($2::timestamptz[])[1]
    GROUP BY hour
)
SELECT
    greatest(
        date_trunc('day', hour, 'UTC'),
        ($2::timestamptz[])[width_bucket(hour, $2::timestamptz[])]
    ) AS start_time,
    coalesce(sum(weight * healthy), 0) AS healthy,
    coalesce(sum(weight * degraded), 0) AS degraded,
    coalesce(sum(weight * unhealthy), 0) AS unhealthy,
    coalesce(sum(weight * maintenance), 0) AS maintenance
FROM averaged
GROUP BY 1
ORDER BY 1

-- name: list_incidents
-- Returns the incidents of a target that began after a time ($2) and come after one of them ($3 is
-- when that began, $4 its id), the newest first, $5 at most.
SELECT incident_id, target, worst_state, start_time, end_time, because, message, request_id
FROM health.incidents
WHERE target = $1 AND start_time >= $2 AND (start_time, incident_id) < ($3, $4::uuid)
ORDER BY start_time DESC, incident_id DESC
LIMIT $5

-- name: newest_incidents
-- Returns the newest incidents of some targets ($1), $2 at most.
SELECT incident_id, target, worst_state, start_time, end_time, because, message, request_id
FROM health.incidents
WHERE target = ANY ($1::text[])
ORDER BY start_time DESC, incident_id DESC
LIMIT $2
