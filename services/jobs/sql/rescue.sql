-- Jobs out of the hands of workers that are gone. The tenant is $1 where rows of one tenant are meant.

-- name: lock_expired_sessions
-- Locks up to $1 sessions whose lease is over; those another replica deals with are left to it.
SELECT session_id
FROM jobs.sessions
WHERE lease_expire_time <= now()
ORDER BY lease_expire_time
LIMIT $1
FOR UPDATE SKIP LOCKED

-- name: leases_of_session
-- Returns what a session has.
SELECT job_id FROM jobs.leases WHERE session_id = $1

-- name: delete_sessions
-- Ends sessions for good.
DELETE FROM jobs.sessions WHERE session_id = ANY ($1::uuid[])

-- name: next_expiry
-- Returns the seconds until the next lease of a session ends; null when there is no session.
SELECT extract(epoch FROM min(lease_expire_time) - clock_timestamp())::float8 FROM jobs.sessions
