-- What every service needs to know callers and to tell of administrative acts, to run as a role that
-- owns nothing: `psql -v role=NAME -f rights.sql`, by the role that migrates. `mainstay migrate
-- --role` does it. No service makes keys: `mainstay keys` does, as the role that migrates.

GRANT USAGE ON SCHEMA identity TO :"role";
GRANT SELECT ON identity.api_keys, identity.key_revision TO :"role";
GRANT UPDATE (last_use_time) ON identity.api_keys TO :"role";
-- Acts are told and never read, nor changed.
GRANT INSERT ON identity.audit_log TO :"role";
-- It runs with the rights of the role that migrates.
GRANT EXECUTE ON FUNCTION identity.cleanup_audit_log TO :"role";
-- For the tables of migrations to come.
ALTER DEFAULT PRIVILEGES IN SCHEMA identity GRANT SELECT ON TABLES TO :"role";
