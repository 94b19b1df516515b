-- How full queues are, what holds them back, and who works. The tenant is $1 where rows of one
-- tenant are meant.

-- name: depth
-- Counts what waits and runs, and the workers that are connected to any replica; the oldest is the
-- ready job that has waited longest, in seconds.
SELECT
    (SELECT count(*) FROM jobs.ready) AS ready,
    (SELECT count(*) FROM jobs.delayed) AS delayed,
    (SELECT count(*) FROM jobs.leases) AS running,
    (
        SELECT coalesce(extract(epoch FROM now() - min(ready_time)), 0)::float8 FROM jobs.ready
    ) AS oldest,
    (SELECT count(*) FROM jobs.dead_letters) AS dead_letters,
    (SELECT count(*) FROM jobs.sessions WHERE lease_expire_time > now()) AS workers

-- name: strain
-- Returns what makes the queue's tables slow: the age in seconds of the oldest transaction that this
-- role may see, and the dead rows of the tables that change most.
SELECT
    (
        SELECT coalesce(extract(epoch FROM now() - min(xact_start)), 0)::float8
        FROM pg_stat_activity
        WHERE datname = current_database()
            AND pid <> pg_backend_pid()
            AND backend_type = 'client backend'
    ) AS oldest_transaction,
    (
        SELECT coalesce(sum(n_dead_tup), 0)::bigint
        FROM pg_stat_user_tables
        WHERE schemaname = 'jobs'
            AND relname = ANY (ARRAY['jobs', 'ready', 'delayed', 'leases', 'steps', 'waits'])
    ) AS dead_rows

-- name: queue_names
-- Returns the functions whose jobs a tenant may have, by name, after $2.
SELECT DISTINCT name
FROM jobs.functions
WHERE tenant IN ($1, '*') AND name > $2
ORDER BY name
LIMIT $3

-- name: queue_figures
-- Returns the figures of the queues in $2; rates are over the last minute, per second. Counts what
-- delays, runs and waits once for all queues.
WITH wanted AS (SELECT unnest($2::text[]) AS name),
born AS (
    SELECT function, count(*) AS jobs
    FROM (
        SELECT function FROM jobs.jobs
        WHERE tenant = $1 AND job_id >= (
            lpad(to_hex((extract(epoch FROM now() - interval '1 minute') * 1000)::bigint), 12, '0')
            || repeat('0', 20)
        )::uuid AND function = ANY ($2)
        UNION ALL
        SELECT function FROM jobs.history
        WHERE tenant = $1 AND job_id >= (
            lpad(to_hex((extract(epoch FROM now() - interval '1 minute') * 1000)::bigint), 12, '0')
            || repeat('0', 20)
        )::uuid AND function = ANY ($2)
    ) AS recent
    GROUP BY function
),
later AS (
    SELECT function, count(*) AS jobs
    FROM jobs.delayed
    WHERE tenant = $1 AND function = ANY ($2)
    GROUP BY function
),
held AS (
    SELECT function, count(*) AS jobs
    FROM jobs.leases
    WHERE tenant = $1 AND function = ANY ($2)
    GROUP BY function
),
parked AS (
    SELECT j.function, count(*) AS jobs
    FROM (SELECT DISTINCT job_id FROM jobs.waits WHERE tenant = $1) AS w
    CROSS JOIN LATERAL (
        SELECT function FROM jobs.jobs
        WHERE jobs.job_id = w.job_id AND jobs.state = 'waiting'
        OFFSET 0
    ) AS j
    GROUP BY j.function
),
buried AS (
    SELECT
        function, count(*) AS jobs,
        count(*) FILTER (WHERE end_time > now() - interval '1 minute') AS recent
    FROM jobs.dead_letters
    WHERE tenant = $1
    GROUP BY function
),
over AS (
    SELECT function, count(*) AS jobs
    FROM jobs.history
    WHERE tenant = $1 AND end_time > now() - interval '1 minute' AND function = ANY ($2)
        -- Those had ended before, as dead letters.
        AND state <> 'discarded'
    GROUP BY function
)
SELECT
    wanted.name,
    ready.jobs AS ready,
    ready.oldest,
    coalesce(later.jobs, 0) AS delayed,
    coalesce(held.jobs, 0) AS running,
    coalesce(parked.jobs, 0) AS waiting,
    coalesce(buried.jobs, 0) AS dead_letters,
    EXISTS (
        SELECT FROM jobs.queues AS q
        WHERE q.tenant IN ($1, '*') AND q.name = wanted.name AND q.paused
    ) AS paused,
    coalesce(born.jobs, 0) / 60.0::float8 AS accepted_rate,
    (coalesce(over.jobs, 0) + coalesce(buried.recent, 0)) / 60.0::float8 AS ended_rate,
    (
        SELECT count(*) FROM jobs.sessions AS s
        WHERE s.tenant IN ($1, '*') AND s.functions @> ARRAY[wanted.name]
            AND s.lease_expire_time > now()
    ) AS workers
FROM wanted
CROSS JOIN LATERAL (
    SELECT count(*) AS jobs, extract(epoch FROM now() - min(r.ready_time))::float8 AS oldest
    FROM jobs.ready AS r
    WHERE r.function = wanted.name AND r.tenant = $1
) AS ready
LEFT JOIN born ON born.function = wanted.name
LEFT JOIN later ON later.function = wanted.name
LEFT JOIN held ON held.function = wanted.name
LEFT JOIN parked ON parked.function = wanted.name
LEFT JOIN buried ON buried.function = wanted.name
LEFT JOIN over ON over.function = wanted.name
ORDER BY wanted.name

-- name: set_paused
-- Holds back a queue or lets it go on; no row when no function has that name.
INSERT INTO jobs.queues AS known (tenant, name, paused)
SELECT $1, $2, $3
WHERE EXISTS (
    SELECT FROM jobs.functions AS f
    WHERE f.name = $2 AND (f.tenant IN ($1, '*') OR $1 = '*')
)
ON CONFLICT (tenant, name) DO UPDATE SET paused = excluded.paused
RETURNING name

-- name: list_workers
-- Returns sessions that serve a tenant, by name and id, after those in $2 and $3.
SELECT
    s.session_id, s.tenant, s.worker, s.functions, s.lease_expire_time, s.create_time,
    (SELECT count(*) FROM jobs.leases AS l WHERE l.session_id = s.session_id) AS running
FROM jobs.sessions AS s
WHERE s.tenant IN ($1, '*') AND s.lease_expire_time > now()
    AND (s.worker, s.session_id) > ($2, $3::uuid)
ORDER BY s.worker, s.session_id
LIMIT $4

-- name: queue_facts
-- Returns what keeps job $2 of tenant $1 from running; jobs ahead are counted up to $3.
SELECT
    now() AS now,
    r.job_id IS NOT NULL AS ready,
    EXISTS (SELECT FROM jobs.delayed AS d WHERE d.job_id = $2) AS delayed,
    (
        SELECT count(*)
        FROM (
            SELECT FROM jobs.ready AS other
            WHERE other.function = r.function AND other.tenant = r.tenant
                AND other.key = r.key AND other.version = r.version
                AND (other.rank, other.job_id) < (r.rank, r.job_id)
            LIMIT $3
        ) AS before
    ) AS ahead,
    (
        SELECT count(*) FROM jobs.sessions AS s
        WHERE s.tenant IN ($1, '*') AND s.functions @> ARRAY[j.function]
            AND s.lease_expire_time > now()
    ) AS workers,
    (
        SELECT count(*) FROM jobs.sessions AS s
        WHERE s.tenant IN ($1, '*') AND s.lease_expire_time > now()
            AND s.versions[array_position(s.functions, j.function)] = j.pin
    ) AS same_version,
    j.pin,
    (
        SELECT count(*) FROM jobs.leases AS l
        WHERE l.function = j.function AND l.capped AND (f.tenant = '*' OR l.tenant = $1)
    ) AS running,
    (
        SELECT count(*) FROM jobs.leases AS l
        WHERE l.function = j.function AND l.tenant = $1 AND l.key = j.key AND l.capped
    ) AS running_of_key,
    coalesce(f.concurrency, 0) AS "limit",
    coalesce(f.key_limit, 0) AS key_limit,
    j.key,
    coalesce(f.rate_endpoint, '') AS rate_endpoint,
    coalesce(f.rate_subject, '') AS rate_subject,
    EXISTS (
        SELECT FROM jobs.queues AS q
        WHERE q.tenant IN ($1, '*') AND q.name = j.function AND q.paused
    ) AS paused,
    (
        SELECT count(*) / 60.0::float8 FROM jobs.history AS h
        WHERE h.tenant = $1 AND h.function = j.function
            AND h.end_time > now() - interval '1 minute'
    ) AS started_rate
FROM jobs.jobs AS j
LEFT JOIN jobs.ready AS r ON r.job_id = $2
LEFT JOIN LATERAL (
    SELECT * FROM jobs.functions AS known
    WHERE known.name = j.function AND known.tenant IN ($1, '*')
    ORDER BY known.tenant = '*'
    LIMIT 1
) AS f ON true
WHERE j.tenant = $1 AND j.job_id = $2

-- name: function_facts
-- Returns when a function was last declared otherwise, and how many connected workers have it.
SELECT
    f.update_time,
    (
        SELECT count(*) FROM jobs.sessions AS s
        WHERE s.tenant IN ($1, '*') AND s.functions @> ARRAY[f.name]
            AND s.lease_expire_time > now()
    ) AS workers
FROM jobs.functions AS f
WHERE f.tenant IN ($1, '*') AND f.name = $2
ORDER BY f.tenant = '*'
LIMIT 1
