-- Jobs from the lanes into the hands of workers. Times are the database's.

-- name: promote_due
-- Makes up to $1 delayed jobs ready whose time has come; returns how many. Further events are folded
-- into them no more: of a debounce that somebody is just using, the row is left for him to replace.
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
    RETURNING job_id, ready_time
),
ready AS (
    INSERT INTO jobs.ready (job_id, function, tenant, key, version, rank, bytes, ready_time)
    SELECT
        j.job_id, j.function, j.tenant, j.key, j.pin,
        CASE
            WHEN j.state = 'rolling_back' THEN jobs.rank_begun(due.ready_time, j.priority)
            ELSE jobs.rank(due.ready_time, j.priority)
        END,
        j.bytes, due.ready_time
    FROM due
    CROSS JOIN LATERAL (SELECT * FROM jobs.jobs AS j WHERE j.job_id = due.job_id OFFSET 0) AS j
    ORDER BY due.ready_time
    ON CONFLICT (job_id) DO NOTHING
),
folded AS (
    SELECT d.tenant, d.function, d.key
    FROM due
    CROSS JOIN LATERAL (
        SELECT * FROM jobs.debounces AS d WHERE d.job_id = due.job_id FOR UPDATE SKIP LOCKED
    ) AS d
),
freed AS (
    DELETE FROM jobs.debounces AS d
    USING folded AS f
    WHERE d.tenant = ANY (ARRAY[f.tenant]) AND d.function = ANY (ARRAY[f.function])
        AND d.key = ANY (ARRAY[f.key])
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
-- Returns where something waits that workers could do, without looking at jobs that may not start:
-- of the pairs of function and tenant in $1 and $2, and of all tenants, up to $5 of them, for the
-- functions in $3. Tenants are found by stepping through the index from one to the next, however
-- many jobs each has: those behind the tenant in $4 first, then those from the beginning; `number`
-- counts them by function. Of each tenant, up to $8 lanes are found in the same way for each version
-- that workers have, in $6 by function in $7, from the key in $11 on for the tenant in $10 of the
-- function in $9. Lanes whose cap is reached are passed over, and so are paused ones.
-- Of what is held back by a cap there is a row without a lane. $12 bounds the count of ready jobs
-- where a rate has to be asked for; those that have `begun` go on without.
WITH running AS MATERIALIZED (
    SELECT counted.*, EXISTS (
        SELECT FROM jobs.functions AS f WHERE f.tenant = counted.tenant AND f.name = counted.function
    ) AS own
    FROM (
        SELECT l.function, l.tenant, count(*) AS jobs
        FROM jobs.leases AS l
        WHERE l.capped AND l.function = ANY ($7::text[])
        GROUP BY 1, 2
        OFFSET 0
    ) AS counted
)
SELECT
    queue.function, queue.tenant, queue.number, lane.version, lane.key, lane.rank,
    f.tenant AS owner, f.version_policy, f.timeout, f.hang_timeout,
    coalesce(f.concurrency, 0) AS concurrency, coalesce(f.key_limit, 0) AS key_limit,
    coalesce(f.rate_endpoint, '') AS rate_endpoint, f.rate_subject,
    CASE WHEN f.rate_endpoint <> '' THEN (
        SELECT count(*)
        FROM (
            SELECT
            FROM jobs.ready AS r
            WHERE r.function = queue.function AND r.tenant = queue.tenant
                AND r.version = lane.version AND r.key = lane.key
            LIMIT $12
        ) AS counted
    ) END AS ready,
    CASE WHEN f.rate_endpoint <> '' THEN (
        SELECT count(*)
        FROM (
            SELECT
            FROM jobs.ready AS r
            WHERE r.function = queue.function AND r.tenant = queue.tenant
                AND r.version = lane.version AND r.key = lane.key AND r.rank < 0
            LIMIT $12
        ) AS counted
    ) END AS begun
FROM (
    SELECT wanted.function, wanted.tenant, 0 AS number
    FROM unnest($1::text[], $2::text[]) AS wanted (function, tenant)
    CROSS JOIN LATERAL (
        SELECT
        FROM jobs.ready AS r
        WHERE r.function = wanted.function AND r.tenant = wanted.tenant
        -- Not EXISTS: that became a hash of everything that is ready.
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
                    SELECT r.tenant, false AS around
                    FROM jobs.ready AS r
                    WHERE r.function = served.function AND r.tenant > step.tenant
                    ORDER BY r.tenant
                    LIMIT 1
                )
                UNION ALL
                (
                    SELECT r.tenant, true AS around
                    FROM jobs.ready AS r
                    WHERE r.function = served.function AND NOT step.around
                    ORDER BY r.tenant
                    LIMIT 1
                )
                -- The first that there is: from the beginning only where nothing is behind.
                LIMIT 1
            ) AS next
            WHERE NOT (step.around OR next.around) OR next.tenant <= served.start
        )
        SELECT tenant, number FROM step WHERE number > 0 LIMIT $5
    ) AS found
) AS queue
LEFT JOIN LATERAL (
    SELECT *
    FROM jobs.functions AS f
    WHERE f.tenant IN (queue.tenant, '*') AND f.name = queue.function
    ORDER BY f.tenant = '*'
    LIMIT 1
) AS f ON true
CROSS JOIN LATERAL (
    SELECT
        EXISTS (
            SELECT
            FROM jobs.queues AS q
            WHERE q.tenant IN (queue.tenant, '*') AND q.name = queue.function AND q.paused
        ) AS paused,
        f.concurrency > 0 AND f.concurrency <= (
            SELECT coalesce(sum(jobs), 0)
            FROM running
            WHERE running.function = queue.function
                AND CASE WHEN f.tenant = '*' THEN NOT running.own
                    ELSE running.tenant = queue.tenant END
        ) AS full
) AS hold
CROSS JOIN LATERAL (
    SELECT coalesce(max(looked.key), '') AS key
    FROM unnest($9::text[], $10::text[], $11::text[]) AS looked (function, tenant, key)
    WHERE looked.function = queue.function AND looked.tenant = queue.tenant
) AS start
LEFT JOIN LATERAL (
    SELECT served.version, step.key, step.rank
    FROM unnest($6::text[], $7::text[]) AS served (version, function)
    CROSS JOIN LATERAL (
        WITH RECURSIVE step AS (
            (
                SELECT r.key, r.rank
                FROM jobs.ready AS r
                WHERE r.function = queue.function AND r.tenant = queue.tenant
                    AND r.version = served.version
                    AND r.key >= start.key
                ORDER BY r.key, r.rank
                LIMIT 1
            )
            UNION ALL
            SELECT next.key, next.rank
            FROM step
            CROSS JOIN LATERAL (
                SELECT r.key, r.rank
                FROM jobs.ready AS r
                WHERE r.function = queue.function AND r.tenant = queue.tenant
                    AND r.version = served.version AND r.key > step.key
                ORDER BY r.key, r.rank
                LIMIT 1
            ) AS next
        )
        SELECT step.key, step.rank
        FROM step
        WHERE coalesce(f.key_limit, 0) = 0 OR f.key_limit > (
            SELECT count(*)
            FROM (
                SELECT
                FROM jobs.leases AS l
                WHERE l.capped AND l.function = queue.function AND l.tenant = queue.tenant
                    AND l.key = step.key
                LIMIT f.key_limit
            ) AS counted
        )
        LIMIT $8
    ) AS step
    WHERE served.function = queue.function AND hold.full IS NOT TRUE
    -- Keeps the condition in here: otherwise lanes were looked for first.
    OFFSET 0
) AS lane ON true
WHERE NOT hold.paused AND (lane.key IS NOT NULL OR f.concurrency > 0 OR f.key_limit > 0)

-- name: lock_caps
-- Locks functions that have a cap, each the declaration of a tenant or of all, in the order in which
-- they are given, and returns the cap as it is now. What runs has to be counted by a later statement: this one may have waited for others.
SELECT f.tenant, f.name, f.concurrency, f.key_limit
FROM unnest($1::text[], $2::text[]) AS wanted (tenant, name)
CROSS JOIN LATERAL (
    SELECT *
    FROM jobs.functions AS f
    WHERE f.tenant = wanted.tenant AND f.name = wanted.name
    FOR NO KEY UPDATE
) AS f

-- name: count_capped
-- Counts what runs: of the functions in $1 by whose they are, and of the function, tenant and key in
-- $2, $3 and $4.
SELECT counted.function, own.tenant, NULL AS key, sum(counted.running)::bigint AS running
FROM (
    SELECT l.function, l.tenant, count(*) AS running
    FROM jobs.leases AS l
    WHERE l.capped AND l.function = ANY ($1::text[])
    GROUP BY 1, 2
    OFFSET 0
) AS counted
CROSS JOIN LATERAL (
    SELECT coalesce(max(f.tenant), '*') AS tenant
    FROM jobs.functions AS f
    WHERE f.tenant = counted.tenant AND f.name = counted.function
) AS own
GROUP BY 1, 2
UNION ALL
SELECT lane.function, lane.tenant, lane.key, found.running
FROM unnest($2::text[], $3::text[], $4::text[]) AS lane (function, tenant, key)
CROSS JOIN LATERAL (
    SELECT count(*) AS running
    FROM jobs.leases AS l
    WHERE l.capped AND l.function = lane.function AND l.tenant = lane.tenant AND l.key = lane.key
) AS found

-- name: assign
-- Moves the first jobs of lanes into the hands of sessions and returns all that a worker needs; those
-- that somebody else is just taking are passed over. $1 to $4 name the lanes, $5 says how many jobs of
-- each at most, and $6 to $9 what their function declares. The jobs of all lanes together, in order,
-- go to the seats in $10, which count from 1: the sessions in $11 with the stream in $12 and the
-- version of the code in $13. A session that has ended, or goes on over a newer stream, gets nothing:
-- it is among `gone`, and its jobs stay ready. No more is taken once the payloads have $14 bytes;
-- `cut` tells so. $15 is what a step counts for beside its text, $16 the grace after a timeout, $17
-- what a step that waits counts for.
WITH seat AS MATERIALIZED (
    SELECT o.number, o.session_id, o.version, s.worker
    FROM unnest($11::uuid[], $12::bigint[], $13::text[])
        WITH ORDINALITY AS o (session_id, stream, version, number)
    JOIN jobs.sessions AS s ON s.session_id = o.session_id AND s.stream = o.stream
    WHERE s.lease_expire_time > now()
    -- Until this commits, nobody resumes or ends the session without seeing the new leases.
    FOR SHARE OF s
),
head AS MATERIALIZED (
    SELECT
        lane.number, lane.capped, lane.timeout, lane.hang_timeout, lane.pins,
        first.job_id, first.ready_time,
        row_number() OVER in_lane AS place,
        ($10::int[])[lane.first + row_number() OVER in_lane] AS seat,
        sum(first.bytes) OVER (ORDER BY lane.number, first.rank, first.job_id ROWS UNBOUNDED PRECEDING)
            - first.bytes
            AS bytes_before
    FROM (
        SELECT lane.*, sum(places) OVER (ORDER BY number) - places AS first
        FROM unnest(
            $1::text[], $2::text[], $3::text[], $4::text[], $5::int[],
            $6::boolean[], $7::interval[], $8::interval[], $9::boolean[]
        ) WITH ORDINALITY AS lane (
            function, tenant, version, key, places, capped, timeout, hang_timeout, pins, number
        )
    ) AS lane
    CROSS JOIN LATERAL (
        SELECT r.job_id, r.rank, r.bytes, r.ready_time
        FROM jobs.ready AS r
        WHERE r.function = lane.function AND r.tenant = lane.tenant
            AND r.version = lane.version AND r.key = lane.key
        ORDER BY r.rank
        LIMIT lane.places
        FOR UPDATE SKIP LOCKED
    ) AS first
    WINDOW in_lane AS (PARTITION BY lane.number ORDER BY first.rank, first.job_id)
),
taken AS (
    DELETE FROM jobs.ready AS r
    USING head AS h, seat AS s
    WHERE r.job_id = ANY (ARRAY[h.job_id]) AND s.number = h.seat AND h.bytes_before < $14
    RETURNING h.*, s.session_id, s.worker, s.version
),
begun AS (
    UPDATE jobs.jobs AS j
    SET state = CASE t.state WHEN 'rolling_back' THEN t.state ELSE 'running' END,
        revision = j.revision + 1,
        attempt = j.attempt + (t.state IN ('queued', 'retrying'))::int,
        rollback_attempt = j.rollback_attempt + (t.state = 'rolling_back')::int,
        epoch = j.epoch + 1,
        worker = t.worker,
        version = CASE t.state WHEN 'queued' THEN t.version ELSE j.version END,
        pin = CASE WHEN t.state = 'queued' AND t.pins THEN t.version ELSE j.pin END,
        start_time = coalesce(j.start_time, now()),
        ready_time = NULL
    FROM (
        SELECT taken.*, before.state
        FROM taken
        CROSS JOIN LATERAL (
            SELECT state FROM jobs.jobs WHERE jobs.job_id = taken.job_id OFFSET 0
        ) AS before
    ) AS t
    -- As an equation it became a join with all jobs where the plan was made while there were none.
    WHERE j.job_id = ANY (ARRAY[t.job_id])
    RETURNING
        j.job_id, j.epoch, j.tenant, j.function, j.key, j.attempt,
        j.max_attempts + j.crash_count AS max_attempts, j.event_name, j.data, j.version,
        j.request_id, j.traceparent, t.state AS left_state,
        t.session_id, t.version AS worker_version, t.ready_time, t.number, t.place, t.capped,
        t.timeout, t.hang_timeout
),
filled AS (
    SELECT b.*, m.keys, m.kinds, m.results, m.undo, m.steps_bytes
    FROM begun AS b
    CROSS JOIN LATERAL (
        SELECT
            array_agg(key ORDER BY number) AS keys,
            array_agg(kind ORDER BY number) AS kinds,
            array_agg(result::text ORDER BY number) AS results,
            array_agg(key ORDER BY number DESC) FILTER (WHERE compensation = 1) AS undo,
            coalesce(sum(octet_length(key) + octet_length(result::text) + $15), 0) + coalesce(
                (
                    SELECT sum(octet_length(w.key) + $17)
                    FROM jobs.waits AS w
                    WHERE w.job_id = b.job_id AND b.epoch > 1
                ),
                0
            ) AS steps_bytes
        FROM jobs.steps
        WHERE steps.job_id = b.job_id AND b.epoch > 1
    ) AS m
),
leased AS (
    INSERT INTO jobs.leases (
        job_id, tenant, epoch, session_id, steps_bytes, function, key, capped, expire_time,
        hang_timeout, rollback, resumed
    )
    SELECT
        job_id, tenant, epoch, session_id, steps_bytes, function, key, capped,
        now() + timeout + $16::interval, hang_timeout,
        left_state = 'rolling_back', left_state = 'waiting'
    FROM filled
)
SELECT
    f.job_id, f.epoch, f.session_id, f.tenant, f.function, f.attempt, f.max_attempts, f.event_name,
    f.data, f.version, f.worker_version, f.keys, f.kinds, f.results, f.undo, f.left_state,
    f.request_id, f.traceparent, f.number,
    greatest(extract(epoch FROM now() - f.ready_time), 0)::float8 AS waited,
    (
        SELECT array_agg(($11::uuid[])[h.seat])
        FROM head AS h
        WHERE NOT EXISTS (SELECT FROM seat WHERE seat.number = h.seat)
    ) AS gone,
    EXISTS (SELECT FROM head AS h WHERE h.bytes_before >= $14) AS cut
FROM filled AS f
ORDER BY f.number, f.place

-- name: find_gone
-- Returns which of sessions have ended or go on over a newer stream.
SELECT o.session_id
FROM unnest($1::uuid[], $2::bigint[]) AS o (session_id, stream)
WHERE NOT EXISTS (
    SELECT
    FROM jobs.sessions AS s
    WHERE s.session_id = o.session_id AND s.stream = o.stream AND s.lease_expire_time > now()
)
