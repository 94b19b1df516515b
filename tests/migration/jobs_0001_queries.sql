-- Every statement of the jobs service. The tenant is $1 where rows of one tenant are meant; the
-- engine's own statements run across tenants. Arrays of one statement are columns of one table.
--
-- Statements are planned once, perhaps while their tables are still empty, and the plan is kept.
-- Therefore every table is reached by an indexed column that is compared with a parameter, also
-- where a join says the same: a join alone was planned as a scan of a table thought to be empty.

-- name: claim_keys
-- Takes idempotency keys that are free or older than 30 days; returns those that were taken.
INSERT INTO jobs.event_keys AS taken (tenant, key, event_id, content_hash)
SELECT $1, wanted.key, wanted.event_id, wanted.content_hash
FROM unnest($2::text[], $3::uuid[], $4::bytea[]) AS wanted (key, event_id, content_hash)
-- In one order, so that two calls with the same keys wait for each other instead of deadlocking.
ORDER BY wanted.key
ON CONFLICT (tenant, key) DO UPDATE
SET event_id = excluded.event_id, content_hash = excluded.content_hash, create_time = now()
WHERE taken.create_time < now() - interval '30 days'
RETURNING key

-- name: find_keys
-- Returns which events keys stand for.
SELECT key, event_id, content_hash
FROM jobs.event_keys
WHERE tenant = $1 AND key = ANY ($2::text[])

-- name: insert_events
-- Stores events with their payloads and starts a job for each function that each triggers: a row
-- for every event and job, the job null where an event triggers nothing. An event that is there
-- already, because the answer to an earlier commit was lost, returns no row.
WITH incoming AS (
    SELECT *
    FROM unnest($4::uuid[], $5::text[], $6::int[], $7::text[])
        WITH ORDINALITY AS e (event_id, name, version, data, position)
),
accepted AS (
    INSERT INTO jobs.events (event_id, tenant, name, version, request_id, traceparent)
    SELECT event_id, $1, name, version, $2, $3 FROM incoming ORDER BY position
    ON CONFLICT (event_id) DO NOTHING
    RETURNING event_id
),
kept AS (
    INSERT INTO jobs.payloads (event_id, tenant, data)
    SELECT incoming.event_id, $1, incoming.data::json
    FROM incoming JOIN accepted USING (event_id)
),
started AS (
    INSERT INTO jobs.jobs (
        tenant, function, event_id, max_attempts, initial_backoff, max_backoff,
        request_id, traceparent
    )
    SELECT $1, f.name, i.event_id, f.max_attempts, f.initial_backoff, f.max_backoff, $2, $3
    FROM incoming AS i
    JOIN accepted USING (event_id)
    CROSS JOIN LATERAL (
        -- A tenant's own declaration goes before the one for all tenants.
        SELECT DISTINCT ON (name) *
        FROM jobs.functions
        WHERE trigger = i.name AND tenant IN ($1, '*')
        ORDER BY name, tenant = '*'
    ) AS f
    ORDER BY i.position, f.name
    RETURNING job_id, event_id, function, priority
),
queued AS (
    INSERT INTO jobs.queue (job_id, function, tenant, priority)
    SELECT job_id, function, $1, priority FROM started ORDER BY job_id
)
SELECT accepted.event_id, started.job_id
FROM accepted LEFT JOIN started USING (event_id)
ORDER BY started.job_id

-- name: find_jobs_of_events
-- Returns the jobs that events started, in no order: with one, the wrong index is taken.
SELECT event_id, job_id
FROM jobs.jobs
WHERE tenant = $1 AND event_id = ANY ($2::uuid[])

-- name: find_job
-- Returns a job with its steps, in order of completion. Columns are named one by one: with a star,
-- the connections of a running service fail once each when a migration adds a column.
SELECT
    j.job_id, j.tenant, j.function, j.event_id, j.state, j.revision,
    j.attempt, j.max_attempts, j.crash_count, j.progress_fraction, j.progress_message, j.result,
    j.failure_kind, j.failure_message, j.failure_permanent, j.request_id, j.worker,
    j.create_time, j.start_time, j.ready_time, j.end_time,
    s.keys, s.results, s.attempts, s.end_times
FROM jobs.jobs AS j
CROSS JOIN LATERAL (
    SELECT
        array_agg(key ORDER BY number) AS keys,
        array_agg(result::text ORDER BY number) AS results,
        array_agg(attempt ORDER BY number) AS attempts,
        array_agg(end_time ORDER BY number) AS end_times
    FROM jobs.steps
    WHERE steps.job_id = j.job_id
) AS s
WHERE j.tenant = $1 AND j.job_id = $2

-- name: find_revisions
-- Returns how far jobs have come, for those who watch them.
SELECT job_id, revision FROM jobs.jobs WHERE job_id = ANY ($1::uuid[])

-- name: declare_functions
-- Stores functions as declared; the same declaration again writes nothing.
INSERT INTO jobs.functions AS known (
    tenant, name, trigger, max_attempts, initial_backoff, max_backoff
)
SELECT $1, f.name, f.trigger, f.max_attempts, f.initial_backoff, f.max_backoff
FROM unnest($2::text[], $3::text[], $4::int[], $5::interval[], $6::interval[])
    AS f (name, trigger, max_attempts, initial_backoff, max_backoff)
ORDER BY f.name
ON CONFLICT (tenant, name) DO UPDATE
SET trigger = excluded.trigger,
    max_attempts = excluded.max_attempts,
    initial_backoff = excluded.initial_backoff,
    max_backoff = excluded.max_backoff
WHERE (known.trigger, known.max_attempts, known.initial_backoff, known.max_backoff)
    IS DISTINCT FROM
    (excluded.trigger, excluded.max_attempts, excluded.initial_backoff, excluded.max_backoff)

-- name: resume_session
-- Carries a session over to a new stream; no row when it is gone. $4 is its new lease.
UPDATE jobs.sessions
SET stream = stream + 1, worker = $3, lease_expire_time = now() + $4::interval
WHERE tenant = $1 AND session_id = $2
RETURNING stream

-- name: insert_session
-- Begins a session. It may be there already when the answer to an earlier commit was lost.
INSERT INTO jobs.sessions (tenant, session_id, worker, lease_expire_time)
VALUES ($1, $2, $3, now() + $4::interval)
ON CONFLICT (session_id) DO UPDATE SET lease_expire_time = excluded.lease_expire_time
RETURNING stream

-- name: renew_session
-- Counts the lease from now, in the name of the newest stream only.
UPDATE jobs.sessions
SET lease_expire_time = now() + $4::interval
WHERE tenant = $1 AND session_id = $2 AND stream = $3
RETURNING stream

-- name: leave_session
-- Shortens what is left of the lease to $4, in the name of the newest stream only.
UPDATE jobs.sessions
SET lease_expire_time = least(lease_expire_time, now() + $4::interval)
WHERE tenant = $1 AND session_id = $2 AND stream = $3

-- name: held_leases
-- Returns what a session has; `settled` is what it has had for longer than $2.
SELECT job_id, epoch, create_time < now() - $2::interval AS settled
FROM jobs.leases
WHERE session_id = $1

-- name: lock_leases
-- Locks leases of a session, in one order for everybody, with what their ends depend on.
SELECT
    l.job_id, l.epoch, l.session_id, l.last_sequence, l.steps_bytes,
    j.attempt, j.crash_count, j.max_attempts, j.initial_backoff, j.max_backoff,
    j.tenant, j.function, j.worker, j.request_id, j.traceparent
FROM jobs.leases AS l
JOIN jobs.jobs AS j USING (job_id)
WHERE l.session_id = $1 AND l.job_id = ANY ($2::uuid[]) AND j.job_id = ANY ($2::uuid[])
ORDER BY l.job_id
FOR UPDATE OF l

-- name: find_closed
-- Returns the turns at jobs that a session's own reports have ended.
SELECT job_id, epoch, closed_sequence
FROM jobs.jobs
WHERE job_id = ANY ($2::uuid[]) AND closed_session = $1

-- name: find_finished_steps
-- Returns which of the keys in $2 are those of steps that jobs have finished.
SELECT job_id, key FROM jobs.steps WHERE job_id = ANY ($1::uuid[]) AND key = ANY ($2::text[])

-- name: insert_steps
-- Stores finished steps; one that is stored already stays as it is.
INSERT INTO jobs.steps (job_id, tenant, key, result, attempt)
SELECT s.job_id, s.tenant, s.key, s.result::json, s.attempt
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[])
    WITH ORDINALITY AS s (job_id, tenant, key, result, attempt, position)
ORDER BY s.position
ON CONFLICT (job_id, key) DO NOTHING

-- name: advance_leases
-- Notes the newest report of leases that go on, and what it said of progress.
WITH news AS (
    SELECT *
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::float8[], $6::text[])
        AS n (job_id, epoch, last_sequence, steps_bytes, fraction, message)
),
advanced AS (
    UPDATE jobs.leases AS l
    SET last_sequence = news.last_sequence, steps_bytes = news.steps_bytes
    FROM news
    WHERE l.job_id = news.job_id AND l.epoch = news.epoch AND l.job_id = ANY ($1::uuid[])
)
UPDATE jobs.jobs AS j
SET revision = j.revision + 1,
    progress_fraction = coalesce(news.fraction, j.progress_fraction),
    progress_message = coalesce(news.message, j.progress_message)
FROM news
WHERE j.job_id = news.job_id
    AND j.epoch = news.epoch
    AND j.state = 'running'
    AND j.job_id = ANY ($1::uuid[])

-- name: close_leases
-- Ends turns at jobs, fenced by epoch and session, and puts back what is to be tried again: into
-- the queue, or among the delayed where it has to wait. Waits are in seconds.
WITH ending AS (
    SELECT *
    FROM unnest(
        $1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::float8[], $6::int[], $7::int[],
        $8::text[], $9::text[], $10::text[], $11::boolean[], $12::bigint[],
        $13::float8[], $14::text[]
    ) AS e (
        job_id, epoch, session_id, state, wait, attempts_given_back, crashes,
        result, failure_kind, failure_message, failure_permanent, sequence,
        fraction, message
    )
),
freed AS (
    DELETE FROM jobs.leases AS l
    USING ending AS e
    WHERE l.job_id = e.job_id
        AND l.epoch = e.epoch
        AND l.session_id = e.session_id
        AND l.job_id = ANY ($1::uuid[])
    RETURNING e.*
),
closed AS (
    UPDATE jobs.jobs AS j
    SET state = f.state,
        revision = j.revision + 1,
        attempt = j.attempt - f.attempts_given_back,
        crash_count = j.crash_count + f.crashes,
        worker = NULL,
        result = f.result::json,
        progress_fraction = coalesce(f.fraction, j.progress_fraction),
        progress_message = coalesce(f.message, j.progress_message),
        failure_kind = coalesce(f.failure_kind, j.failure_kind),
        failure_message = coalesce(f.failure_message, j.failure_message),
        failure_permanent = coalesce(f.failure_permanent, j.failure_permanent),
        closed_session = CASE WHEN f.sequence IS NOT NULL THEN f.session_id END,
        closed_sequence = f.sequence,
        ready_time = CASE
            WHEN f.state IN ('queued', 'retrying') THEN now() + f.wait * interval '1 second'
        END,
        end_time = CASE WHEN f.state IN ('succeeded', 'dead_lettered') THEN now() END
    FROM freed AS f
    WHERE j.job_id = f.job_id AND j.epoch = f.epoch AND j.job_id = ANY ($1::uuid[])
    RETURNING j.job_id, j.function, j.tenant, j.priority, j.ready_time, f.wait
),
delayed AS (
    INSERT INTO jobs.delayed (job_id, function, tenant, priority, ready_time)
    SELECT job_id, function, tenant, priority, ready_time
    FROM closed
    WHERE ready_time IS NOT NULL AND wait > 0
)
INSERT INTO jobs.queue (job_id, function, tenant, priority)
SELECT job_id, function, tenant, priority
FROM closed
WHERE ready_time IS NOT NULL AND wait <= 0
ORDER BY job_id

-- name: promote_due
-- Makes up to $1 delayed jobs ready whose time has come; returns how many.
WITH due AS (
    DELETE FROM jobs.delayed
    WHERE job_id = ANY (ARRAY(
        SELECT job_id
        FROM jobs.delayed
        WHERE ready_time <= now()
        ORDER BY ready_time
        LIMIT $1
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING job_id, function, tenant, priority, ready_time
),
ready AS (
    INSERT INTO jobs.queue (job_id, function, tenant, priority, ready_time)
    SELECT job_id, function, tenant, priority, ready_time FROM due ORDER BY ready_time
)
SELECT count(*) FROM due

-- name: next_due
-- Returns the seconds until the next delayed job becomes ready; no row when there is none.
SELECT extract(epoch FROM ready_time - clock_timestamp())::float8
FROM jobs.delayed
-- True of all, but it names the index: min() was planned as a scan of everything.
WHERE ready_time > '-infinity'
ORDER BY ready_time
LIMIT 1

-- name: find_lanes
-- Returns in which queues something waits: of the pairs of function and tenant in $1 and $2, and
-- of all tenants, up to $5 of them, for the functions in $3. Tenants are found by stepping through
-- the index from one to the next, however many jobs each has: those behind the tenant in $4 first,
-- then those from the beginning. `number` counts them by function.
SELECT wanted.function, wanted.tenant, 0 AS number
FROM unnest($1::text[], $2::text[]) AS wanted (function, tenant)
CROSS JOIN LATERAL (
    SELECT 1
    FROM jobs.queue AS q
    WHERE q.function = wanted.function AND q.tenant = wanted.tenant
    -- Not EXISTS: that became a hash of the whole queue.
    LIMIT 1
) AS head
UNION ALL
SELECT served.function, found.tenant, found.number
FROM unnest($3::text[], $4::text[]) AS served (function, start)
CROSS JOIN LATERAL (
    WITH RECURSIVE step AS (
        SELECT served.start AS tenant, false AS around, 0 AS number
        UNION ALL
        SELECT next.tenant, step.around OR next.around, step.number + 1
        FROM step
        CROSS JOIN LATERAL (
            (
                SELECT q.tenant, false AS around
                FROM jobs.queue AS q
                WHERE q.function = served.function AND q.tenant > step.tenant
                ORDER BY q.tenant
                LIMIT 1
            )
            UNION ALL
            (
                SELECT q.tenant, true AS around
                FROM jobs.queue AS q
                WHERE q.function = served.function AND NOT step.around
                ORDER BY q.tenant
                LIMIT 1
            )
            -- The first that there is: from the beginning only where nothing is behind.
            LIMIT 1
        ) AS next
        WHERE NOT (step.around OR next.around) OR next.tenant <= served.start
    )
    SELECT tenant, number FROM step WHERE number > 0 LIMIT $5
) AS found

-- name: lock_ready
-- Locks the first jobs of queues, passing over those that another replica is just claiming.
SELECT lane.number, head.id, head.job_id
FROM unnest($1::text[], $2::text[], $3::int[])
    WITH ORDINALITY AS lane (function, tenant, places, number)
CROSS JOIN LATERAL (
    SELECT q.id, q.job_id
    FROM jobs.queue AS q
    WHERE q.function = lane.function AND q.tenant = lane.tenant
    ORDER BY q.priority DESC, q.id
    LIMIT lane.places
    FOR UPDATE SKIP LOCKED
) AS head

-- name: assign
-- Moves locked jobs from the queue into the hands of sessions and returns all that a worker needs.
-- A session that has ended, or goes on over a newer stream, gets nothing: its jobs stay queued.
WITH live AS MATERIALIZED (
    SELECT s.session_id, s.worker
    FROM unnest($4::uuid[], $5::bigint[]) AS o (session_id, stream)
    JOIN jobs.sessions AS s ON s.session_id = o.session_id AND s.stream = o.stream
    WHERE s.lease_expire_time > now()
    -- Until this commits, nobody resumes or ends the session without seeing the new leases.
    FOR SHARE OF s
),
taken AS (
    DELETE FROM jobs.queue AS q
    USING unnest($1::bigint[], $3::uuid[]) AS p (id, session_id), live
    WHERE q.id = p.id AND live.session_id = p.session_id AND q.id = ANY ($1::bigint[])
    RETURNING q.job_id, q.ready_time, live.session_id, live.worker
),
begun AS (
    UPDATE jobs.jobs AS j
    SET state = 'running',
        revision = j.revision + 1,
        attempt = j.attempt + 1,
        epoch = j.epoch + 1,
        worker = t.worker,
        start_time = coalesce(j.start_time, now()),
        ready_time = NULL
    FROM taken AS t
    WHERE j.job_id = t.job_id AND j.job_id = ANY ($2::uuid[])
    RETURNING
        j.job_id, j.epoch, j.tenant, j.function, j.event_id, j.attempt,
        j.max_attempts + j.crash_count AS max_attempts, j.request_id, j.traceparent,
        t.session_id, t.ready_time
),
filled AS (
    SELECT b.*, m.keys, m.results, m.steps_bytes
    FROM begun AS b
    CROSS JOIN LATERAL (
        SELECT
            array_agg(key ORDER BY number) AS keys,
            array_agg(result::text ORDER BY number) AS results,
            coalesce(sum(octet_length(key) + octet_length(result::text) + $6), 0) AS steps_bytes
        FROM jobs.steps
        WHERE steps.job_id = b.job_id
    ) AS m
),
leased AS (
    INSERT INTO jobs.leases (job_id, tenant, epoch, session_id, steps_bytes)
    SELECT job_id, tenant, epoch, session_id, steps_bytes FROM filled
)
SELECT
    f.job_id, f.epoch, f.session_id, f.tenant, f.function, f.attempt, f.max_attempts,
    (SELECT e.name FROM jobs.events AS e WHERE e.event_id = f.event_id) AS event_name,
    (SELECT p.data::text FROM jobs.payloads AS p WHERE p.event_id = f.event_id) AS data,
    f.keys, f.results, f.request_id, f.traceparent,
    greatest(extract(epoch FROM now() - f.ready_time), 0)::float8 AS waited
FROM filled AS f
ORDER BY f.job_id

-- name: lock_expired_sessions
-- Locks up to $1 sessions whose lease is over; those another replica deals with are left to it.
SELECT session_id
FROM jobs.sessions
WHERE lease_expire_time <= now()
ORDER BY lease_expire_time
LIMIT $1
FOR UPDATE SKIP LOCKED

-- name: delete_sessions
-- Ends sessions for good.
DELETE FROM jobs.sessions WHERE session_id = ANY ($1::uuid[])

-- name: next_expiry
-- Returns the seconds until the next lease of a session ends; null when there is no session.
SELECT extract(epoch FROM min(lease_expire_time) - clock_timestamp())::float8 FROM jobs.sessions

-- name: depth
-- Counts what waits and runs; the oldest is the ready job that has waited longest, in seconds.
SELECT
    (SELECT count(*) FROM jobs.queue) AS ready,
    (SELECT count(*) FROM jobs.delayed) AS delayed,
    (SELECT count(*) FROM jobs.leases) AS running,
    (
        SELECT coalesce(extract(epoch FROM now() - min(ready_time)), 0)::float8 FROM jobs.queue
    ) AS oldest

-- name: notify
-- Sends a text to every replica that listens.
SELECT pg_notify($1, $2)
