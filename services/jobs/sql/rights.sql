-- What the jobs service needs, besides a connection, to run as a role that owns nothing:
-- `psql -v role=NAME -f rights.sql`, by the role that migrates. `mainstay migrate --role` does it.

GRANT USAGE ON SCHEMA jobs TO :"role";
GRANT SELECT, INSERT, UPDATE, DELETE ON
    jobs.dead_letters, jobs.debounces, jobs.delayed, jobs.event_keys, jobs.job_keys, jobs.jobs,
    jobs.leases, jobs.queue, jobs.ready, jobs.schedules, jobs.sessions, jobs.signals, jobs.steps,
    jobs.waits
    TO :"role";
-- Their rows are replaced, and never deleted.
GRANT SELECT, INSERT, UPDATE ON jobs.functions, jobs.queues TO :"role";
-- What is stored there is never changed; days of the history are dropped as a whole.
GRANT SELECT, INSERT ON jobs.event_schemas, jobs.history TO :"role";
GRANT EXECUTE ON FUNCTION jobs.ensure_partitions, jobs.cleanup_job_queue TO :"role";
-- For the tables of migrations to come. Partitions get it too, and have no policy that would let
-- anybody but their owner see a row: they are reached by way of their table alone.
ALTER DEFAULT PRIVILEGES IN SCHEMA jobs
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"role";
