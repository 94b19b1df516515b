-- Sessions of workers. The tenant is $1 where rows of one tenant are meant.

-- name: resume_session
-- Carries a session over to a new stream; no row when it is gone. $4 is its new lease.
UPDATE jobs.sessions
SET stream = stream + 1,
    worker = $3,
    lease_expire_time = now() + $4::interval,
    functions = $5,
    versions = $6
WHERE tenant = $1 AND session_id = $2
RETURNING stream

-- name: insert_session
-- Begins a session. It may be there already when the answer to an earlier commit was lost.
INSERT INTO jobs.sessions (tenant, session_id, worker, lease_expire_time, functions, versions)
VALUES ($1, $2, $3, now() + $4::interval, $5, $6)
ON CONFLICT (session_id) DO UPDATE SET lease_expire_time = excluded.lease_expire_time
RETURNING stream

-- name: renew_session
-- Counts the lease from now, in the name of the newest stream only.
UPDATE jobs.sessions
SET lease_expire_time = now() + $4::interval
WHERE tenant = $1 AND session_id = $2 AND stream = $3
RETURNING stream

-- name: touch_session
-- Counts the lease from now, whichever stream is the newest; no row when the session has ended.
UPDATE jobs.sessions
SET lease_expire_time = greatest(lease_expire_time, now() + $3::interval)
WHERE tenant = $1 AND session_id = $2 AND lease_expire_time > now()
RETURNING stream

-- name: leave_session
-- Shortens what is left of the lease to $4, in the name of the newest stream only.
UPDATE jobs.sessions
SET lease_expire_time = least(lease_expire_time, now() + $4::interval)
WHERE tenant = $1 AND session_id = $2 AND stream = $3

-- name: held_leases
-- Returns what a session has.
SELECT job_id, epoch
FROM jobs.leases
WHERE session_id = $1
