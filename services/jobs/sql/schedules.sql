-- What starts by the clock. The tenant is $1 where rows of one tenant are meant.

-- name: put_schedule
-- Creates a schedule or replaces it; one of the service's own is only replaced by the service.
INSERT INTO jobs.schedules AS known (
    tenant, name, cron, time_zone, event, function, data, catch_up, paused, system, next_time
)
VALUES ($1, $2, $3, $4, $5, $6, $7::json, $8, $9, $10, $11)
ON CONFLICT (tenant, name) DO UPDATE
SET cron = excluded.cron,
    time_zone = excluded.time_zone,
    event = excluded.event,
    function = excluded.function,
    data = excluded.data,
    catch_up = excluded.catch_up,
    paused = excluded.paused,
    next_time = excluded.next_time
WHERE known.system = excluded.system
RETURNING tenant, name, cron, time_zone, event, function, data::text, catch_up, paused, system,
    next_time, last_time

-- name: keep_schedule
-- Creates one of the service's own; one that is there keeps its times while it means the same, and
-- stays paused.
INSERT INTO jobs.schedules AS known (
    tenant, name, cron, time_zone, event, function, data, catch_up, paused, system, next_time
)
VALUES ($1, $2, $3, $4, $5, $6, $7::json, $8, false, true, $9)
ON CONFLICT (tenant, name) DO UPDATE
SET cron = excluded.cron,
    time_zone = excluded.time_zone,
    function = excluded.function,
    data = excluded.data,
    catch_up = excluded.catch_up,
    next_time = CASE WHEN NOT known.paused THEN excluded.next_time END
WHERE (known.cron, known.time_zone, known.function, known.data::text, known.catch_up)
    IS DISTINCT FROM
    (excluded.cron, excluded.time_zone, excluded.function, excluded.data::text, excluded.catch_up)

-- name: list_schedules
-- Returns a tenant's schedules by name, after $2.
SELECT tenant, name, cron, time_zone, event, function, data::text, catch_up, paused, system,
    next_time, last_time
FROM jobs.schedules
WHERE tenant = $1 AND name > $2
ORDER BY name
LIMIT $3

-- name: lock_schedule
-- Returns one schedule, which nobody changes until the commit.
SELECT tenant, name, cron, time_zone, event, function, data::text, catch_up, paused, system,
    next_time, last_time
FROM jobs.schedules
WHERE tenant = $1 AND name = $2
FOR UPDATE

-- name: pause_schedule
-- Stops a schedule, or lets it go on with the tick in $4.
UPDATE jobs.schedules
SET paused = $3, next_time = $4
WHERE tenant = $1 AND name = $2
RETURNING tenant, name, cron, time_zone, event, function, data::text, catch_up, paused, system,
    next_time, last_time

-- name: delete_schedule
-- Removes a schedule that is not one of the service's own.
DELETE FROM jobs.schedules WHERE tenant = $1 AND name = $2 AND NOT system RETURNING name

-- name: due_schedules
-- Returns up to $1 schedules whose tick has come, with the database's clock, behind the tick, tenant and
-- name in $2, $3 and $4.
SELECT tenant, name, cron, time_zone, event, function, data::text, catch_up, paused, system,
    next_time, last_time, now() AS now
FROM jobs.schedules
WHERE next_time <= now() AND (next_time, tenant, name) > ($2::timestamptz, $3::text, $4::text)
ORDER BY next_time, tenant, name
LIMIT $1

-- name: next_schedule
-- Returns the seconds until the next tick of all; no row when there is none.
SELECT extract(epoch FROM next_time - clock_timestamp())::float8
FROM jobs.schedules
WHERE next_time > '-infinity'
ORDER BY next_time
LIMIT 1

-- name: advance_schedule
-- Goes on from the tick in $3, unless another replica has.
UPDATE jobs.schedules
SET next_time = $4, last_time = coalesce($5, last_time)
WHERE tenant = $1 AND name = $2 AND next_time = $3
