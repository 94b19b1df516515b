-- What the health service needs, besides a connection, to run as a role that owns nothing, and what
-- every service needs for the log of its calls: `psql -v role=NAME -f rights.sql`, by the role that
-- migrates. `mainstay migrate --role` does it.

GRANT USAGE ON SCHEMA health, telemetry TO :"role";
GRANT SELECT, INSERT, UPDATE, DELETE ON health.maintenance TO :"role";
GRANT SELECT, INSERT, UPDATE ON
    health.incidents, health.system_health_hours, health.system_health_logs TO :"role";
GRANT SELECT, INSERT ON health.batches TO :"role";
-- Calls are told and never read.
GRANT INSERT ON telemetry.api_request_logs, telemetry.performance_metrics TO :"role";
-- These run with the rights of the role that migrates: they make and drop days.
GRANT EXECUTE ON FUNCTION
    health.ensure_partitions, health.cleanup_system_health_logs,
    health.cleanup_system_health_hours, health.cleanup_incidents, health.cleanup_maintenance,
    telemetry.ensure_partitions, telemetry.cleanup_api_request_logs,
    telemetry.cleanup_performance_metrics
    TO :"role";
-- For the tables of migrations to come.
ALTER DEFAULT PRIVILEGES IN SCHEMA health
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"role";
ALTER DEFAULT PRIVILEGES IN SCHEMA telemetry GRANT INSERT ON TABLES TO :"role";
