#!/bin/bash
# Run once by the image of PostgreSQL, when the database is made: the role that migrates, and the one
# that the services have. `mainstay migrate --role mainstay_app` gives that one its rights.
psql --set ON_ERROR_STOP=1 --set owner="$OWNER_PASSWORD" --set app="$APP_PASSWORD" --username postgres --dbname mainstay <<'SQL'
CREATE ROLE mainstay_owner LOGIN PASSWORD :'owner';
CREATE ROLE mainstay_app LOGIN PASSWORD :'app';
ALTER DATABASE mainstay OWNER TO mainstay_owner;
REVOKE ALL ON DATABASE mainstay FROM PUBLIC;
GRANT CONNECT ON DATABASE mainstay TO mainstay_app;
SQL
