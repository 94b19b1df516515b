-- What is out of service on purpose, and what is old in all tables that the health service keeps.

-- name: load_maintenances
-- Returns those that have not ended.
SELECT target, mode, start_time, end_time, reason
FROM health.maintenance
WHERE end_time > now()

-- name: put_maintenance
-- Sets one; it takes the place of the one that its target has.
INSERT INTO health.maintenance (target, mode, start_time, end_time, reason)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (target) DO UPDATE SET
    mode = excluded.mode, start_time = excluded.start_time, end_time = excluded.end_time,
    reason = excluded.reason

-- name: delete_maintenance
-- Ends the one of a target, if there is one.
DELETE FROM health.maintenance WHERE target = $1

-- name: begin_upkeep
-- Returns whether no other instance is at it, for as long as the transaction lasts, which waits for
-- nobody else's locks either: whoever waits for one on a table holds up all who come after.
SELECT
    pg_try_advisory_xact_lock(hashtext('health.upkeep')),
    set_config('lock_timeout', '1s', true),
    set_config('statement_timeout', '30s', true)

-- name: ensure_partitions
-- Makes the partitions of the next days; returns how many were missing.
SELECT health.ensure_partitions($1) + telemetry.ensure_partitions($1)

-- name: cleanup
-- Drops and deletes what is older than each table keeps; returns how many days and rows it was.
SELECT
    health.cleanup_system_health_logs() + health.cleanup_system_health_hours()
    + health.cleanup_incidents() + health.cleanup_maintenance()
    + telemetry.cleanup_api_request_logs() + telemetry.cleanup_performance_metrics()

-- name: find_audit_log
-- Returns 1 if there is an audit log, whose tables `mainstay migrate` makes, or the first service
-- that needs them.
SELECT (to_regclass('identity.audit_log') IS NOT NULL)::integer

-- name: cleanup_audit_log
-- Deletes what is older than it keeps; returns how many rows it was.
SELECT identity.cleanup_audit_log()
