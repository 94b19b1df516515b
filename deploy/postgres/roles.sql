-- The roles and the database of Mainstay, for those who make them by hand: run it once, as a role that
-- may make both, and change the names to yours.
--
--   psql --set=ON_ERROR_STOP=1 --file=deploy/postgres/roles.sql postgresql://postgres@db.example.com/postgres
--   \password mainstay_owner
--   \password mainstay_app
--
-- Then `mainstay migrate --role mainstay_app` with the owner's URL, at first and before every new
-- version; the services with that of the other role and MAINSTAY_POSTGRES_MIGRATE=false.

-- Owns the database and what migrations make in it. For `mainstay migrate`, `keys`, `backup` and
-- `restore`: row-level security binds it too, but it could switch that off.
CREATE ROLE mainstay_owner LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB;
-- What services run as. Owns nothing: whoever takes over a service can neither change a table nor the
-- policies that keep tenants apart, nor make an API key.
CREATE ROLE mainstay_app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB;

-- Who is no superuser makes databases for roles only that he is a member of; at the end he is none.
GRANT mainstay_owner TO CURRENT_USER;
CREATE DATABASE mainstay OWNER mainstay_owner;
-- Nobody else has any business there. The right to make temporary tables, by which rows are added in
-- batches, comes with the others from `mainstay migrate --role`.
REVOKE ALL ON DATABASE mainstay FROM PUBLIC;
GRANT CONNECT ON DATABASE mainstay TO mainstay_app;
REVOKE mainstay_owner FROM CURRENT_USER;

-- Optional: the age of others' transactions (jobs), and the lag of standbys (health).
-- GRANT pg_monitor TO mainstay_app;
