-- What the cache service needs, besides a connection, to run as a role that owns nothing:
-- `psql -v role=NAME -f rights.sql`, by the role that migrates. `mainstay migrate --role` does it.

GRANT USAGE ON SCHEMA cache TO :"role";
GRANT SELECT, INSERT, UPDATE, DELETE ON cache.cache_statistics TO :"role";
GRANT SELECT, INSERT, DELETE ON cache.statistics_batches TO :"role";
-- For the tables of migrations to come.
ALTER DEFAULT PRIVILEGES IN SCHEMA cache
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"role";
