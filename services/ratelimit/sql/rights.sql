-- What the rate limit service needs, besides a connection, to run as a role that owns nothing:
-- `psql -v role=NAME -f rights.sql`, by the role that migrates. `mainstay migrate --role` does it.

GRANT USAGE ON SCHEMA ratelimit TO :"role";
-- Old rows are deleted by functions that have the rights of their caller.
GRANT SELECT, INSERT, UPDATE, DELETE ON
    ratelimit.overrides, ratelimit.plan_assignments, ratelimit.rate_limit_statistics,
    ratelimit.rate_limit_statistics_by_hour
    TO :"role";
-- Never changed once they are written. The right to update versions is that to lock the table.
GRANT SELECT, INSERT, DELETE ON
    ratelimit.ai_api_usage, ratelimit.audit_log, ratelimit.evidence_batches,
    ratelimit.rate_limit_violations
    TO :"role";
GRANT SELECT, INSERT, UPDATE ON ratelimit.policy_versions, ratelimit.revisions TO :"role";
-- For the tables of migrations to come.
ALTER DEFAULT PRIVILEGES IN SCHEMA ratelimit
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"role";
