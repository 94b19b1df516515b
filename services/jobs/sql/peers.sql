-- News between replicas. The tenant is $1 where rows of one tenant are meant.

-- name: notify
-- Sends a text to every replica that listens.
SELECT pg_notify($1, $2)
