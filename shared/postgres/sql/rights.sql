-- What every service needs, besides a connection, to run as a role that owns nothing:
-- `psql -v role=NAME -f rights.sql`, by the role that migrates. `mainstay migrate --role` does it.
-- Rows that are added in batches are put into a temporary table first.

GRANT TEMPORARY ON DATABASE :"DBNAME" TO :"role";
GRANT SELECT ON mainstay_migrations TO :"role";
