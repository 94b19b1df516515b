-- The roles of docker-compose.yml. PostgreSQL's image runs this once, as its superuser, when it makes
-- the database; later changes are made by hand (docs/deployment.md).
\set ON_ERROR_STOP on
\getenv owner_password POSTGRES_OWNER_PASSWORD
\getenv app_password POSTGRES_APP_PASSWORD

-- Owns the database and what migrations make in it.
CREATE ROLE mainstay_owner LOGIN PASSWORD :'owner_password';
-- What the services run as: owns nothing, so that no mistake of theirs can undo what keeps tenants
-- apart. `mainstay migrate --role mainstay_app` gives it the rights that it needs.
CREATE ROLE mainstay_app LOGIN PASSWORD :'app_password';

ALTER DATABASE mainstay OWNER TO mainstay_owner;
REVOKE ALL ON DATABASE mainstay FROM PUBLIC;
GRANT CONNECT ON DATABASE mainstay TO mainstay_app;
