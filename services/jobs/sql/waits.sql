-- Steps that wait. Whoever changes what a job waits for holds the lock of the job's row.

-- name: lock_jobs
-- Locks jobs in one order for everybody. One of which a claim has the row is in a worker's hands after
-- it, one that is being suspended is parked: what counts is what stands there once the locks are held.
SELECT FROM jobs.jobs WHERE job_id = ANY ($1::uuid[]) ORDER BY job_id FOR UPDATE

-- name: finish_waits
-- Ends waits of locked jobs with their results, which become finished steps, and makes the jobs ready
-- that were parked for them. Returns the jobs that it changed. Waits that are gone are passed over.
-- Of a result that would take a job's steps beyond $5 bytes, what is in $4 is kept. $6 is what a step
-- counts for beside its text, and $7 what a wait does: in its lease, or counted here.
WITH done AS (
    SELECT DISTINCT ON (d.job_id, d.key) d.*
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
        WITH ORDINALITY AS d (job_id, key, result, reduced, position)
    ORDER BY d.job_id, d.key, d.position
),
job AS MATERIALIZED (
    SELECT
        j.job_id, j.state = 'waiting' AND j.ready_time IS NULL AS parked,
        $5::bigint - coalesce(
            (SELECT l.steps_bytes FROM jobs.leases AS l WHERE l.job_id = j.job_id),
            coalesce(
                (
                    SELECT sum(octet_length(s.key) + octet_length(s.result::text) + $6::int)
                    FROM jobs.steps AS s
                    WHERE s.job_id = j.job_id
                ),
                0
            ) + coalesce(
                (
                    SELECT sum(octet_length(w.key) + $7::int)
                    FROM jobs.waits AS w
                    WHERE w.job_id = j.job_id
                ),
                0
            )
        ) AS room
    FROM jobs.jobs AS j
    WHERE j.job_id = ANY ($1::uuid[])
),
over AS (
    DELETE FROM jobs.waits AS w
    USING done, job
    WHERE w.job_id = done.job_id
        AND w.key = done.key
        AND job.job_id = w.job_id
        AND w.job_id = ANY ($1::uuid[])
    RETURNING
        w.job_id, w.tenant, w.key, w.kind, w.attempt, done.result, done.reduced, done.position,
        greatest(octet_length(done.result) + $6 - $7, 0) AS more, job.room, job.parked
),
kept AS (
    SELECT
        job_id, tenant, key, kind, attempt, position, parked,
        CASE
            WHEN more = 0 OR sum(more) OVER (PARTITION BY job_id ORDER BY position) <= room
            THEN result
            ELSE reduced
        END AS result
    FROM over
),
finished AS (
    INSERT INTO jobs.steps (job_id, tenant, key, kind, result, attempt)
    SELECT job_id, tenant, key, kind, result::json, attempt FROM kept ORDER BY position
    ON CONFLICT (job_id, key) DO NOTHING
),
counted AS (
    UPDATE jobs.leases AS l
    SET steps_bytes = l.steps_bytes + k.bytes
    FROM (
        SELECT job_id, sum(octet_length(result) + $6 - $7) AS bytes FROM kept GROUP BY job_id
    ) AS k
    WHERE l.job_id = k.job_id AND l.job_id = ANY ($1::uuid[])
),
woken AS (
    UPDATE jobs.jobs AS j
    SET revision = j.revision + 1,
        ready_time = CASE WHEN k.parked THEN now() ELSE j.ready_time END
    FROM (SELECT DISTINCT job_id, parked FROM kept) AS k
    WHERE j.job_id = k.job_id AND j.job_id = ANY ($1::uuid[])
    RETURNING
        j.job_id, j.function, j.tenant, j.key, j.pin, j.priority, j.bytes, j.ready_time, k.parked
),
readied AS (
    INSERT INTO jobs.ready (job_id, function, tenant, key, version, rank, bytes, ready_time)
    SELECT
        job_id, function, tenant, key, pin, jobs.rank_begun(ready_time, priority), bytes, ready_time
    FROM woken
    WHERE parked
    ORDER BY job_id
)
SELECT job_id, parked AS woken FROM woken

-- name: find_ancestors
-- Returns the functions that led to jobs, their own last.
SELECT job_id, lineage || function AS ancestors FROM jobs.jobs WHERE job_id = ANY ($1::uuid[])

-- name: insert_waits
-- Stores steps that begin to wait; one that waits already does so as before. Times are in seconds.
INSERT INTO jobs.waits (job_id, key, tenant, kind, subject, match, due_time, attempt)
SELECT
    w.job_id, w.key, w.tenant, w.kind, w.subject, w.match::jsonb,
    now() + w.timeout * interval '1 second', w.attempt
FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::float8[], $8::int[]
) AS w (job_id, key, tenant, kind, subject, match, timeout, attempt)
ORDER BY w.job_id, w.key
ON CONFLICT (job_id, key) DO NOTHING

-- name: insert_children
-- Starts jobs that steps of others wait for, under the request of those, with the steps' waits.
WITH wanted AS (
    SELECT w.*, jobs.uuid_v7() AS child
    FROM unnest(
        $1::uuid[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::smallint[],
        $8::int[], $9::interval[], $10::interval[], $11::interval[]
    ) WITH ORDINALITY AS w (
        parent, parent_key, attempt, function, data, key, priority,
        max_attempts, initial_backoff, max_backoff, start_before, position
    )
),
started AS (
    INSERT INTO jobs.jobs (
        job_id, tenant, function, event_id, data, bytes, key, priority, max_attempts,
        initial_backoff, max_backoff, start_before, parent_job_id, parent_key, lineage,
        request_id, traceparent
    )
    SELECT
        w.child, p.tenant, w.function, jobs.uuid_v7(), w.data::json, octet_length(w.data), w.key,
        w.priority, w.max_attempts, w.initial_backoff, w.max_backoff, w.start_before,
        w.parent, w.parent_key, p.lineage || p.function, p.request_id, p.traceparent
    FROM wanted AS w
    JOIN jobs.jobs AS p ON p.job_id = w.parent
    WHERE p.job_id = ANY ($1::uuid[])
    ORDER BY w.position
    RETURNING job_id, function, tenant, key, priority, bytes, ready_time
),
readied AS (
    INSERT INTO jobs.ready (job_id, function, tenant, key, version, rank, bytes, ready_time)
    SELECT job_id, function, tenant, key, '', jobs.rank(ready_time, priority), bytes, ready_time
    FROM started
    ORDER BY job_id
)
INSERT INTO jobs.waits (job_id, key, tenant, kind, subject, attempt)
SELECT w.parent, w.parent_key, s.tenant, 'invoke', s.job_id::text, w.attempt
FROM wanted AS w
JOIN started AS s ON s.job_id = w.child

-- name: take_signals
-- Gives signals that were kept to the steps that have begun to wait for them, the oldest first.
WITH begun AS (
    SELECT b.job_id, b.key, b.name,
        row_number() OVER (PARTITION BY b.job_id, b.name ORDER BY b.position) AS turn
    FROM unnest($1::uuid[], $2::text[], $3::text[])
        WITH ORDINALITY AS b (job_id, key, name, position)
),
heard AS (
    SELECT s.id, s.job_id, s.name, s.data,
        row_number() OVER (PARTITION BY s.job_id, s.name ORDER BY s.id) AS turn
    FROM jobs.signals AS s
    WHERE s.job_id = ANY ($1::uuid[])
),
given AS (
    SELECT b.job_id, b.key, h.id, h.data::text AS data
    FROM begun AS b
    JOIN heard AS h USING (job_id, name, turn)
),
forgotten AS (
    DELETE FROM jobs.signals
    WHERE job_id = ANY ($1::uuid[]) AND id = ANY (ARRAY(SELECT id FROM given))
)
SELECT job_id, key, data FROM given
