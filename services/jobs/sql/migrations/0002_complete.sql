-- Steps that wait, rollback, caps, schedules, history. Replicas of the version before go on: they
-- accept events, take reports and put jobs back; what they queue is handed out by the new ones.
-- `events`, `payloads` and `queue` are theirs alone and go with a later migration.

-- Row-level security binds the role that migrates too; what is carried over is everybody's.
SET LOCAL mainstay.tenant = '*';

-- The record of a job that is not over yet, or is a dead letter. A payload of more than a few
-- hundred bytes is kept apart by PostgreSQL itself and not rewritten when the row is.
ALTER TABLE jobs.jobs
    DROP CONSTRAINT jobs_event_id_fkey,
    ADD COLUMN event_name text NOT NULL DEFAULT '',
    ADD COLUMN data json,
    ADD COLUMN bytes integer NOT NULL DEFAULT 0,
    ADD COLUMN key text NOT NULL DEFAULT '',
    ADD COLUMN version text NOT NULL DEFAULT '',
    ADD COLUMN pin text NOT NULL DEFAULT '',
    ADD COLUMN parent_job_id uuid,
    ADD COLUMN parent_key text,
    ADD COLUMN lineage text[] NOT NULL DEFAULT '{}',
    ADD COLUMN schedule text NOT NULL DEFAULT '',
    ADD COLUMN start_before interval,
    ADD COLUMN start_by timestamptz,
    ADD COLUMN progress_partial json,
    ADD COLUMN cancel_time timestamptz,
    ADD COLUMN cancel_reason text,
    ADD COLUMN cancel_rollback boolean,
    ADD COLUMN rollback_outcome text,
    ADD COLUMN rollback_attempt integer NOT NULL DEFAULT 0,
    ADD COLUMN rollback_failure_kind text,
    ADD COLUMN rollback_failure_message text,
    DROP CONSTRAINT state_is_known,
    ADD CONSTRAINT state_is_known CHECK (state IN (
        'queued', 'running', 'retrying', 'waiting', 'rolling_back',
        'succeeded', 'dead_lettered', 'cancelled', 'discarded'
    )),
    DROP CONSTRAINT waiting_is_due,
    -- What waits for a worker is due at some time; of what waits for something else, or is undone,
    -- only that which a worker may take up; nothing else.
    ADD CONSTRAINT waiting_is_due CHECK (
        CASE
            WHEN state IN ('queued', 'retrying') THEN ready_time IS NOT NULL
            WHEN state IN ('waiting', 'rolling_back') THEN true
            ELSE ready_time IS NULL
        END
    ),
    DROP CONSTRAINT running_has_worker,
    ADD CONSTRAINT running_has_worker CHECK (
        CASE state WHEN 'running' THEN worker IS NOT NULL WHEN 'rolling_back' THEN true
        ELSE worker IS NULL END
    ),
    DROP CONSTRAINT over_has_end,
    ADD CONSTRAINT over_has_end CHECK (
        (state IN ('succeeded', 'dead_lettered', 'cancelled', 'discarded'))
        = (end_time IS NOT NULL)
    ),
    ADD CONSTRAINT cancel_is_whole CHECK (
        num_nonnulls(cancel_time, cancel_reason, cancel_rollback) IN (0, 3)
    ),
    ADD CONSTRAINT rollback_leads_to_an_end CHECK (
        rollback_outcome IN ('dead_lettered', 'cancelled')
    ),
    ADD CONSTRAINT rolling_back_has_outcome CHECK (
        state <> 'rolling_back' OR rollback_outcome IS NOT NULL
    ),
    ADD CONSTRAINT rollback_failure_is_whole CHECK (
        num_nonnulls(rollback_failure_kind, rollback_failure_message) IN (0, 2)
    ),
    ADD CONSTRAINT child_names_its_step CHECK ((parent_job_id IS NULL) = (parent_key IS NULL)),
    ADD CONSTRAINT priority_is_bounded CHECK (priority BETWEEN -100 AND 100);
-- Only a job of an earlier version is found by its event; others are named by the event's key.
DROP INDEX jobs.jobs_by_event;
CREATE INDEX jobs_by_tenant ON jobs.jobs (tenant, job_id);
CREATE INDEX jobs_by_start ON jobs.jobs (start_by) WHERE start_by IS NOT NULL;
CREATE INDEX jobs_by_parent ON jobs.jobs (parent_job_id) WHERE parent_job_id IS NOT NULL;
COMMENT ON TABLE jobs.jobs IS
    'Jobs that are not over, and dead letters; where one waits or runs is said by another table.';
COMMENT ON COLUMN jobs.jobs.data IS 'The payload; absent until a job of version 1 is queued.';
COMMENT ON COLUMN jobs.jobs.bytes IS 'Of the payload.';
COMMENT ON COLUMN jobs.jobs.key IS 'What a cap or rate by key counts it under; empty for none.';
COMMENT ON COLUMN jobs.jobs.version IS 'Of the function that began its first attempt.';
COMMENT ON COLUMN jobs.jobs.pin IS 'The only version that may go on with it; empty for any.';
COMMENT ON COLUMN jobs.jobs.lineage IS 'The functions that led to it by invoking, oldest first.';
COMMENT ON COLUMN jobs.jobs.start_before IS 'How long it may wait for its first attempt.';
COMMENT ON COLUMN jobs.jobs.start_by IS
    'Until when its first attempt has to begin; null for whenever, and once it has begun. Of jobs '
    'without such a bound it never changes, which keeps their updates away from its index.';
COMMENT ON COLUMN jobs.jobs.rollback_outcome IS 'Where it goes once its steps are undone.';
COMMENT ON COLUMN jobs.jobs.rollback_attempt IS
    'Turns at undoing that have begun since the last step was undone.';

-- States move forwards only along the arrows of services/jobs/states.py.
DROP TRIGGER legal_transition ON jobs.jobs;
CREATE TRIGGER legal_transition BEFORE UPDATE OF state ON jobs.jobs
    FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
        ('queued', 'running'),
        ('queued', 'rolling_back'),
        ('queued', 'dead_lettered'),
        ('queued', 'cancelled'),
        ('retrying', 'running'),
        ('retrying', 'rolling_back'),
        ('retrying', 'dead_lettered'),
        ('retrying', 'cancelled'),
        ('running', 'queued'),
        ('running', 'retrying'),
        ('running', 'waiting'),
        ('running', 'rolling_back'),
        ('running', 'succeeded'),
        ('running', 'dead_lettered'),
        ('running', 'cancelled'),
        ('waiting', 'running'),
        ('waiting', 'rolling_back'),
        ('waiting', 'dead_lettered'),
        ('waiting', 'cancelled'),
        ('rolling_back', 'dead_lettered'),
        ('rolling_back', 'cancelled'),
        ('dead_lettered', 'retrying'),
        ('dead_lettered', 'rolling_back'),
        ('dead_lettered', 'discarded')
    ))
    EXECUTE FUNCTION jobs.refuse_transition();


CREATE FUNCTION jobs.bound_start() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.start_by := CASE WHEN NEW.state = 'queued' THEN NEW.ready_time + NEW.start_before END;
    RETURN NEW;
END $$;
CREATE TRIGGER bound_start BEFORE INSERT OR UPDATE ON jobs.jobs
    FOR EACH ROW
    WHEN (NEW.start_before IS NOT NULL)
    EXECUTE FUNCTION jobs.bound_start();


ALTER TABLE jobs.functions
    ADD COLUMN version text NOT NULL DEFAULT '',
    ADD COLUMN version_policy text NOT NULL DEFAULT 'continue',
    ADD COLUMN timeout interval,
    ADD COLUMN hang_timeout interval,
    ADD COLUMN start_timeout interval,
    ADD COLUMN priority smallint NOT NULL DEFAULT 0,
    ADD COLUMN concurrency integer NOT NULL DEFAULT 0,
    ADD COLUMN key_pointer text NOT NULL DEFAULT '',
    ADD COLUMN key_limit integer NOT NULL DEFAULT 0,
    ADD COLUMN rate_endpoint text NOT NULL DEFAULT '',
    ADD COLUMN rate_subject text NOT NULL DEFAULT '',
    ADD COLUMN debounce_period interval,
    ADD COLUMN debounce_key text NOT NULL DEFAULT '',
    ADD COLUMN debounce_max_wait interval,
    ADD COLUMN idempotency text NOT NULL DEFAULT '',
    ADD COLUMN overflow_policy text NOT NULL DEFAULT '',
    ADD COLUMN overflow_depth integer NOT NULL DEFAULT 0,
    ADD COLUMN overflow_age interval,
    ADD COLUMN overflow_bytes bigint NOT NULL DEFAULT 0,
    ADD COLUMN spill_delay interval,
    ADD CONSTRAINT version_policy_is_known CHECK (version_policy IN ('continue', 'pin', 'fail')),
    ADD CONSTRAINT overflow_policy_is_known CHECK (
        overflow_policy IN ('', 'reject', 'shed_oldest', 'spill')
    );
COMMENT ON COLUMN jobs.functions.concurrency IS 'How many of its jobs may run; 0 for any number.';
COMMENT ON COLUMN jobs.functions.key_limit IS 'How many of one tenant and key may; 0 for any number.';


-- Replaces `queue`, which only replicas of version 1 write.
CREATE TABLE jobs.ready (
    job_id uuid PRIMARY KEY,
    function text NOT NULL,
    tenant text NOT NULL,
    key text NOT NULL,
    version text NOT NULL,
    rank bigint NOT NULL,
    bytes integer NOT NULL,
    ready_time timestamptz NOT NULL DEFAULT now()
) WITH (
    -- Rows live for milliseconds; the dead must go before scans have to step over them.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
-- What may not start is never in the way of what may: caps, rates and versions are told by the lane.
CREATE INDEX ready_by_lane ON jobs.ready (function, tenant, version, key, rank);
COMMENT ON TABLE jobs.ready IS
    'Jobs that could start now. Rows are inserted and deleted, never updated: no bloat in place.';
COMMENT ON COLUMN jobs.ready.version IS 'The only version that may take it; empty for any.';
COMMENT ON COLUMN jobs.ready.rank IS
    'Microseconds since 1970 at which it became ready, less 10 s for each point of priority.';
COMMENT ON COLUMN jobs.ready.ready_time IS 'Since when it could; the wait is measured from here.';

CREATE FUNCTION jobs.rank(ready_time timestamptz, priority integer) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (extract(epoch FROM ready_time) * 1000000)::bigint - priority::bigint * 10000000;
COMMENT ON FUNCTION jobs.rank(timestamptz, integer) IS
    'Who goes first: ageing is part of it, since a new job of more priority is behind an old one.';
CREATE FUNCTION jobs.rank_begun(ready_time timestamptz, priority integer) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jobs.rank(ready_time, priority) - 4611686018427387904;
COMMENT ON FUNCTION jobs.rank_begun(timestamptz, integer) IS
    'Of jobs that go on with a turn they have begun: before all others, and negative, since they '
    'draw on no rate again.';

-- What a replica of version 1 queues goes on here.
CREATE FUNCTION jobs.hand_over() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs.jobs AS j
    SET data = p.data, bytes = octet_length(p.data::text), event_name = e.name
    FROM jobs.payloads AS p
    JOIN jobs.events AS e USING (event_id)
    WHERE j.job_id = NEW.job_id AND j.data IS NULL AND p.event_id = j.event_id;
    INSERT INTO jobs.ready (job_id, function, tenant, key, version, rank, bytes, ready_time)
    SELECT j.job_id, j.function, j.tenant, j.key, '', jobs.rank(NEW.ready_time, j.priority),
        j.bytes, NEW.ready_time
    FROM jobs.jobs AS j
    WHERE j.job_id = NEW.job_id
    ON CONFLICT (job_id) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER hand_over AFTER INSERT ON jobs.queue
    FOR EACH ROW EXECUTE FUNCTION jobs.hand_over();
UPDATE jobs.jobs AS j
SET data = p.data, bytes = octet_length(p.data::text), event_name = e.name
FROM jobs.payloads AS p
JOIN jobs.events AS e USING (event_id)
WHERE p.event_id = j.event_id;
INSERT INTO jobs.ready (job_id, function, tenant, key, version, rank, bytes, ready_time)
SELECT q.job_id, q.function, q.tenant, '', '', jobs.rank(q.ready_time, q.priority), 0, q.ready_time
FROM jobs.queue AS q;
DELETE FROM jobs.queue;
-- Nothing stays in it for them to claim: their workers find work at the new replicas.
CREATE FUNCTION jobs.leave_nothing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM jobs.queue;
    RETURN NULL;
END $$;
CREATE TRIGGER leave_nothing AFTER INSERT ON jobs.queue
    FOR EACH STATEMENT EXECUTE FUNCTION jobs.leave_nothing();


CREATE TABLE jobs.queues (
    tenant text NOT NULL,
    name text NOT NULL,
    paused boolean NOT NULL,
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);
CREATE TRIGGER touch BEFORE UPDATE ON jobs.queues
    FOR EACH ROW EXECUTE FUNCTION jobs.touch();
COMMENT ON TABLE jobs.queues IS 'Queues that are or were paused; tenant * pauses those of all.';


ALTER TABLE jobs.sessions
    ADD COLUMN functions text[] NOT NULL DEFAULT '{}',
    ADD COLUMN versions text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN jobs.sessions.functions IS 'What its worker can run.';
COMMENT ON COLUMN jobs.sessions.versions IS 'The version of each of them.';

ALTER TABLE jobs.leases
    ADD COLUMN function text NOT NULL DEFAULT '',
    ADD COLUMN key text NOT NULL DEFAULT '',
    ADD COLUMN capped boolean NOT NULL DEFAULT false,
    ADD COLUMN expire_time timestamptz,
    ADD COLUMN hang_timeout interval,
    ADD COLUMN rollback boolean NOT NULL DEFAULT false,
    ADD COLUMN resumed boolean NOT NULL DEFAULT false;
CREATE INDEX leases_by_cap ON jobs.leases (function, tenant, key) WHERE capped;
CREATE INDEX leases_by_expiry ON jobs.leases (expire_time) WHERE expire_time IS NOT NULL;
COMMENT ON COLUMN jobs.leases.capped IS 'Whether a cap counts it; the others cost no index entry.';
COMMENT ON COLUMN jobs.leases.expire_time IS 'When the turn fails by its timeout; null for never.';
COMMENT ON COLUMN jobs.leases.rollback IS 'Whether the turn is one at undoing.';
COMMENT ON COLUMN jobs.leases.resumed IS
    'Whether the job was waiting before: the turn goes on with an attempt and began none.';

ALTER TABLE jobs.steps
    DROP CONSTRAINT steps_job_id_fkey,
    ADD COLUMN kind text NOT NULL DEFAULT 'run',
    ADD COLUMN compensation smallint NOT NULL DEFAULT 0,
    ADD COLUMN compensate_time timestamptz,
    ADD CONSTRAINT kind_is_known CHECK (kind IN ('run', 'sleep', 'event', 'signal', 'invoke')),
    ADD CONSTRAINT compensation_is_known CHECK (compensation BETWEEN 0 AND 2);
COMMENT ON COLUMN jobs.steps.compensation IS '0 nothing undoes it, 1 it can be undone, 2 it was.';


CREATE TABLE jobs.waits (
    job_id uuid NOT NULL,
    key text NOT NULL,
    tenant text NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL DEFAULT '',
    match jsonb,
    due_time timestamptz,
    attempt integer NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, key),
    CONSTRAINT kind_is_known CHECK (kind IN ('sleep', 'event', 'signal', 'invoke')),
    CONSTRAINT sleep_ends CHECK (kind <> 'sleep' OR due_time IS NOT NULL)
);
CREATE INDEX waits_by_event ON jobs.waits (tenant, subject) WHERE kind = 'event';
CREATE INDEX waits_by_due ON jobs.waits (due_time) WHERE due_time IS NOT NULL;
COMMENT ON TABLE jobs.waits IS
    'Steps that wait. One that is done becomes a row of `steps`, in the same transaction.';
COMMENT ON COLUMN jobs.waits.subject IS
    'For event its name, for signal the signal''s name, for invoke the id of the other job.';
COMMENT ON COLUMN jobs.waits.match IS 'What the payload of the event has to contain.';
COMMENT ON COLUMN jobs.waits.attempt IS 'The attempt of the job in which it began to wait.';

-- Not the operator @>, for which an array contains its parts; that one only goes before.
CREATE FUNCTION jobs.fits(data jsonb, match jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF jsonb_typeof(match) <> 'object' OR jsonb_typeof(data) <> 'object' THEN
        RETURN data = match;
    END IF;
    RETURN NOT EXISTS (
        SELECT FROM jsonb_each(match) AS wanted
        WHERE jobs.fits(data -> wanted.key, wanted.value) IS NOT TRUE
    );
END $$;
COMMENT ON FUNCTION jobs.fits(jsonb, jsonb) IS
    'Whether a payload contains what a step waits for: objects by their named members, everything '
    'else as a whole.';

CREATE TABLE jobs.signals (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL,
    tenant text NOT NULL,
    name text NOT NULL,
    data json NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX signals_by_job ON jobs.signals (job_id, name, id);
COMMENT ON TABLE jobs.signals IS 'Signals that no step has waited for yet.';


ALTER TABLE jobs.event_keys ADD COLUMN job_ids uuid[];
CREATE INDEX event_keys_by_time ON jobs.event_keys (create_time);
COMMENT ON COLUMN jobs.event_keys.job_ids IS
    'The jobs of the event; null when a replica of version 1 took it.';

CREATE TABLE jobs.job_keys (
    tenant text NOT NULL,
    function text NOT NULL,
    key text NOT NULL,
    job_id uuid NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, function, key)
);
CREATE INDEX job_keys_by_time ON jobs.job_keys (create_time);
COMMENT ON TABLE jobs.job_keys IS
    'Jobs of functions that run once for a value in the payload; one older than 30 days is free.';

CREATE TABLE jobs.debounces (
    tenant text NOT NULL,
    function text NOT NULL,
    key text NOT NULL,
    job_id uuid NOT NULL,
    first_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, function, key)
);
CREATE INDEX debounces_by_job ON jobs.debounces (job_id);
COMMENT ON TABLE jobs.debounces IS
    'The delayed job that further events are folded into; its row goes when the job is ready.';


CREATE TABLE jobs.dead_letters (
    job_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    function text NOT NULL,
    failure_kind text NOT NULL,
    end_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_letters_by_tenant ON jobs.dead_letters (tenant, job_id);
CREATE INDEX dead_letters_by_time ON jobs.dead_letters (end_time);
COMMENT ON TABLE jobs.dead_letters IS
    'Which jobs ended badly and wait for somebody; their records stay in `jobs`.';
INSERT INTO jobs.dead_letters (job_id, tenant, function, failure_kind, end_time)
SELECT job_id, tenant, function, failure_kind, end_time
FROM jobs.jobs
WHERE state = 'dead_lettered';


CREATE TABLE jobs.schedules (
    tenant text NOT NULL,
    name text NOT NULL,
    cron text NOT NULL,
    time_zone text NOT NULL,
    event text NOT NULL DEFAULT '',
    function text NOT NULL DEFAULT '',
    data json NOT NULL,
    catch_up text NOT NULL DEFAULT 'latest',
    paused boolean NOT NULL DEFAULT false,
    system boolean NOT NULL DEFAULT false,
    next_time timestamptz,
    last_time timestamptz,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name),
    CONSTRAINT catch_up_is_known CHECK (catch_up IN ('none', 'latest', 'all')),
    CONSTRAINT starts_one_thing CHECK ((event = '') <> (function = '')),
    CONSTRAINT next_unless_paused CHECK (paused = (next_time IS NULL))
);
CREATE INDEX schedules_by_time ON jobs.schedules (next_time) WHERE next_time IS NOT NULL;
CREATE TRIGGER touch BEFORE UPDATE ON jobs.schedules
    FOR EACH ROW EXECUTE FUNCTION jobs.touch();
COMMENT ON TABLE jobs.schedules IS
    'What starts by the clock. A tick locks its row, so that it takes place once.';

CREATE TABLE jobs.event_schemas (
    tenant text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    schema text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name, version),
    CONSTRAINT version_counts_from_one CHECK (version >= 1)
);
COMMENT ON TABLE jobs.event_schemas IS
    'Contracts of events that were put by calls, beside those in files; never changed.';


-- Jobs that are over. A day is one partition, and goes as one.
CREATE TABLE jobs.history (
    job_id uuid NOT NULL,
    tenant text NOT NULL,
    function text NOT NULL,
    event_id uuid NOT NULL,
    event_name text NOT NULL,
    data json,
    left_state text NOT NULL,
    state text NOT NULL,
    revision bigint NOT NULL,
    attempt integer NOT NULL,
    max_attempts integer NOT NULL,
    crash_count integer NOT NULL,
    priority smallint NOT NULL,
    key text NOT NULL,
    version text NOT NULL,
    epoch bigint NOT NULL,
    parent_job_id uuid,
    schedule text NOT NULL,
    progress_fraction double precision,
    progress_message text,
    progress_partial json,
    result json,
    failure_kind text,
    failure_message text,
    failure_permanent boolean,
    cancel_time timestamptz,
    cancel_reason text,
    cancel_rollback boolean,
    rollback_outcome text,
    rollback_attempt integer NOT NULL DEFAULT 0,
    rollback_failure_kind text,
    rollback_failure_message text,
    request_id text NOT NULL,
    traceparent text NOT NULL,
    closed_session uuid,
    closed_sequence bigint,
    steps json,
    create_time timestamptz NOT NULL,
    start_time timestamptz,
    end_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, end_time),
    CONSTRAINT move_is_legal CHECK ((left_state, state) IN (
        ('running', 'succeeded'),
        ('queued', 'cancelled'),
        ('retrying', 'cancelled'),
        ('running', 'cancelled'),
        ('waiting', 'cancelled'),
        ('rolling_back', 'cancelled'),
        ('dead_lettered', 'discarded')
    )),
    CONSTRAINT success_has_result CHECK ((state = 'succeeded') = (result IS NOT NULL))
) PARTITION BY RANGE (end_time);
CREATE INDEX history_by_tenant ON jobs.history (tenant, job_id);
CREATE INDEX history_by_time ON jobs.history USING brin (end_time);
COMMENT ON TABLE jobs.history IS
    'Jobs that are over, with their steps, for 30 days from their end; a partition for each day.';
COMMENT ON COLUMN jobs.history.left_state IS 'Where the job stood before.';
COMMENT ON COLUMN jobs.history.steps IS
    'An array in order of completion: key, kind, result, attempt, end_time, compensation, '
    'compensate_time. Null for none.';
-- Takes what no other takes, such as the first rows after a long standstill.
CREATE TABLE jobs.history_default PARTITION OF jobs.history DEFAULT;

CREATE FUNCTION jobs.ensure_partitions(days_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    day date;
    name text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('jobs.ensure_partitions'));
    FOR day IN
        SELECT d::date FROM generate_series(
            (now() AT TIME ZONE 'UTC')::date,
            (now() AT TIME ZONE 'UTC')::date + days_ahead,
            interval '1 day'
        ) AS d
    LOOP
        name := 'history_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('jobs.' || name) IS NOT NULL;
        EXECUTE format('CREATE TABLE jobs.%I (LIKE jobs.history INCLUDING ALL)', name);
        EXECUTE format('ALTER TABLE jobs.%I ENABLE ROW LEVEL SECURITY', name);
        -- Rows that came before their partition move into it.
        EXECUTE format(
            'WITH moved AS (DELETE FROM jobs.history_default WHERE end_time >= %1$L '
            'AND end_time < %2$L RETURNING *) INSERT INTO jobs.%3$I SELECT * FROM moved',
            day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC', name
        );
        EXECUTE format(
            'ALTER TABLE jobs.history ATTACH PARTITION jobs.%I FOR VALUES FROM (%L) TO (%L)',
            name, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC'
        );
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION jobs.ensure_partitions(integer) IS
    'Makes the partitions of today and so many days to come; returns how many were missing.';

CREATE FUNCTION jobs.cleanup_job_queue(days integer DEFAULT 30) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
    dropped integer := 0;
BEGIN
    IF days < 1 THEN
        RAISE EXCEPTION 'days is %; keep at least 1', days USING ERRCODE = 'check_violation';
    END IF;
    FOR name IN
        SELECT c.relname
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'jobs.history'::regclass
            AND c.relname ~ '^history_\d{8}$'
            AND to_date(right(c.relname, 8), 'YYYYMMDD')
                < (now() AT TIME ZONE 'UTC')::date - days
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE jobs.%I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
COMMENT ON FUNCTION jobs.cleanup_job_queue(integer) IS
    'Drops the days of the history that are older than so many; returns how many it dropped.';


-- They act with the rights of their owner: who may read the history must not be able to drop it.
REVOKE EXECUTE ON FUNCTION jobs.ensure_partitions(integer), jobs.cleanup_job_queue(integer)
    FROM PUBLIC;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'ready', 'queues', 'waits', 'signals', 'job_keys', 'debounces', 'dead_letters',
        'schedules', 'event_schemas', 'history'
    ] LOOP
        EXECUTE format('ALTER TABLE jobs.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE jobs.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON jobs.%I USING ('
            'tenant = current_setting(''mainstay.tenant'', true) '
            'OR current_setting(''mainstay.tenant'', true) = ''*'')',
            name
        );
    END LOOP;
END $$;
ALTER TABLE jobs.history_default ENABLE ROW LEVEL SECURITY;
-- A queue that is paused for all, and a contract that holds for all, everybody sees.
CREATE POLICY paused_for_all ON jobs.queues FOR SELECT USING (tenant = '*');
CREATE POLICY put_for_all ON jobs.event_schemas FOR SELECT USING (tenant = '*');
SELECT jobs.ensure_partitions(3);

-- Replicas of version 1 leave what they end where it is: it goes where it belongs after them.
CREATE FUNCTION jobs.archive(ended uuid) RETURNS void LANGUAGE sql AS $$
WITH moved AS (
    DELETE FROM jobs.jobs WHERE job_id = ended RETURNING *
),
finished AS (
    DELETE FROM jobs.steps AS s
    USING moved
    WHERE s.job_id = moved.job_id
    RETURNING s.*
),
folded AS (
    SELECT
        job_id,
        json_agg(
            json_build_object(
                'key', key, 'kind', kind, 'result', result, 'attempt', attempt,
                'end_time', end_time, 'compensation', compensation,
                'compensate_time', compensate_time
            )
            ORDER BY number
        ) AS steps
    FROM finished
    GROUP BY job_id
)
INSERT INTO jobs.history (
    job_id, tenant, function, event_id, event_name, data, left_state, state, revision, attempt,
    max_attempts, crash_count, priority, key, version, epoch, schedule, progress_fraction,
    progress_message, result, failure_kind, failure_message, failure_permanent, request_id,
    traceparent, closed_session, closed_sequence, steps, create_time, start_time, end_time
)
SELECT
    m.job_id, m.tenant, m.function, m.event_id, m.event_name, m.data, 'running', m.state,
    m.revision, m.attempt, m.max_attempts, m.crash_count, m.priority, m.key, m.version,
    m.epoch, m.schedule, m.progress_fraction, m.progress_message, m.result, m.failure_kind,
    m.failure_message, m.failure_permanent, m.request_id, m.traceparent, m.closed_session,
    m.closed_sequence, f.steps, m.create_time, m.start_time, m.end_time
FROM moved AS m
LEFT JOIN folded AS f USING (job_id);
$$;
CREATE FUNCTION jobs.put_in_its_place() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'succeeded' THEN
        PERFORM jobs.archive(NEW.job_id);
    ELSE
        INSERT INTO jobs.dead_letters (job_id, tenant, function, failure_kind, end_time)
        VALUES (NEW.job_id, NEW.tenant, NEW.function, NEW.failure_kind, NEW.end_time)
        ON CONFLICT (job_id) DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER put_in_its_place AFTER UPDATE OF state ON jobs.jobs
    FOR EACH ROW WHEN (NEW.state IN ('succeeded', 'dead_lettered') AND OLD.state <> NEW.state)
    EXECUTE FUNCTION jobs.put_in_its_place();
SELECT jobs.archive(job_id) FROM jobs.jobs WHERE state = 'succeeded';



CREATE VIEW jobs.job_queue WITH (security_invoker = true) AS
SELECT
    job_id, tenant, function, event_name, state, priority, attempt,
    max_attempts + crash_count AS max_attempts, progress_fraction, failure_kind, failure_message,
    request_id, worker, create_time, start_time, ready_time, end_time
FROM jobs.jobs
UNION ALL
SELECT
    job_id, tenant, function, event_name, state, priority, attempt,
    max_attempts + crash_count, progress_fraction, failure_kind, failure_message,
    request_id, NULL, create_time, start_time, NULL, end_time
FROM jobs.history;
COMMENT ON VIEW jobs.job_queue IS
    'Every job of the last 30 days, over or not: for reports and people. Times are timestamptz.';
COMMENT ON COLUMN jobs.job_queue.job_id IS 'A UUID, in order of creation.';
COMMENT ON COLUMN jobs.job_queue.state IS 'As in JobState of the contract, in lower case.';
COMMENT ON COLUMN jobs.job_queue.max_attempts IS 'How many attempts there may be, crashes added.';
COMMENT ON COLUMN jobs.job_queue.progress_fraction IS 'From 0 to 1, as the function last said.';
COMMENT ON COLUMN jobs.job_queue.ready_time IS 'When the next turn may begin; null unless it waits.';

-- Made last: of indexes that seem equally good for a job's id, as all do while tables are empty, the
-- planner takes the newest, and those by tenant are not as good.
ALTER TABLE jobs.jobs DROP CONSTRAINT jobs_pkey, ADD CONSTRAINT jobs_pkey PRIMARY KEY (job_id);
ALTER TABLE jobs.dead_letters
    DROP CONSTRAINT dead_letters_pkey,
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (job_id);
