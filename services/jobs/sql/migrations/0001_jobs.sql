-- Events, the jobs they start, and who works on them. Every time in here is this database's clock.

CREATE SCHEMA IF NOT EXISTS jobs;
COMMENT ON SCHEMA jobs IS 'Owned by the jobs service: events, durable jobs, worker sessions.';

-- UUIDv7 (RFC 9562): milliseconds, then microseconds as a 12-bit fraction, then random bits.
-- PostgreSQL has its own from version 18 on; this one serves older servers too.
CREATE FUNCTION jobs.uuid_v7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN (
    SELECT (
        lpad(to_hex(micros / 1000), 12, '0')
        || '7' || lpad(to_hex((micros % 1000) * 4096 / 1000), 3, '0')
        -- The last 16 digits of a random UUID begin with its variant bits.
        || right(replace(gen_random_uuid()::text, '-', ''), 16)
    )::uuid
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros) AS clock
);
COMMENT ON FUNCTION jobs.uuid_v7() IS 'A fresh id that sorts by creation to the microsecond.';


CREATE TABLE jobs.events (
    event_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    request_id text NOT NULL,
    traceparent text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT version_counts_from_one CHECK (version >= 1)
);
COMMENT ON TABLE jobs.events IS 'What happened: one row for each accepted event, never changed.';
COMMENT ON COLUMN jobs.events.version IS 'Of the schema that the payload was checked against.';
COMMENT ON COLUMN jobs.events.request_id IS 'Of the call that sent the event.';
COMMENT ON COLUMN jobs.events.traceparent IS 'W3C trace context of that call; may be empty.';


CREATE TABLE jobs.payloads (
    event_id uuid PRIMARY KEY REFERENCES jobs.events,
    tenant text NOT NULL,
    data json NOT NULL
);
COMMENT ON TABLE jobs.payloads IS
    'Payloads apart from what is read often; `json` keeps the text as it was sent.';


CREATE TABLE jobs.event_keys (
    tenant text NOT NULL,
    key text NOT NULL,
    event_id uuid NOT NULL,
    content_hash bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    -- One key names one event of a tenant. It stands apart from the events so that those can be
    -- partitioned by time, where a unique key across partitions is impossible.
    PRIMARY KEY (tenant, key),
    CONSTRAINT key_is_bounded CHECK (octet_length(key) BETWEEN 1 AND 200)
);
COMMENT ON TABLE jobs.event_keys IS 'Idempotency keys of events; one older than 30 days is free.';
COMMENT ON COLUMN jobs.event_keys.content_hash IS
    'Of name, version and payload: a key that comes back with another content is refused.';


CREATE TABLE jobs.functions (
    tenant text NOT NULL,
    name text NOT NULL,
    trigger text NOT NULL,
    max_attempts integer NOT NULL,
    initial_backoff interval NOT NULL,
    max_backoff interval NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name),
    CONSTRAINT attempts_are_bounded CHECK (max_attempts BETWEEN 1 AND 100),
    CONSTRAINT backoff_grows CHECK (
        initial_backoff >= interval '0' AND max_backoff >= initial_backoff
    )
);
CREATE INDEX functions_by_trigger ON jobs.functions (trigger);
COMMENT ON TABLE jobs.functions IS
    'What workers can run, as they last declared it; outlives the workers.';
COMMENT ON COLUMN jobs.functions.tenant IS 'Whose events start it; * for the events of all.';

CREATE FUNCTION jobs.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.update_time := now();
    RETURN NEW;
END $$;
CREATE TRIGGER touch BEFORE UPDATE ON jobs.functions
    FOR EACH ROW EXECUTE FUNCTION jobs.touch();


CREATE TABLE jobs.jobs (
    job_id uuid PRIMARY KEY DEFAULT jobs.uuid_v7(),
    tenant text NOT NULL,
    function text NOT NULL,
    event_id uuid NOT NULL REFERENCES jobs.events,
    priority smallint NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'queued',
    revision bigint NOT NULL DEFAULT 1,
    attempt integer NOT NULL DEFAULT 0,
    crash_count integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL,
    initial_backoff interval NOT NULL,
    max_backoff interval NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    worker text,
    progress_fraction double precision,
    progress_message text,
    result json,
    failure_kind text,
    failure_message text,
    failure_permanent boolean,
    request_id text NOT NULL,
    traceparent text NOT NULL,
    closed_session uuid,
    closed_sequence bigint,
    create_time timestamptz NOT NULL DEFAULT now(),
    start_time timestamptz,
    ready_time timestamptz DEFAULT now(),
    end_time timestamptz,
    CONSTRAINT state_is_known CHECK (
        state IN ('queued', 'running', 'retrying', 'succeeded', 'dead_lettered')
    ),
    -- A crash does not use up an attempt: each one grants another.
    CONSTRAINT attempts_are_bounded CHECK (attempt BETWEEN 0 AND max_attempts + crash_count),
    -- What waits for its first attempt has not begun one.
    CONSTRAINT queued_is_untried CHECK (state <> 'queued' OR attempt = 0),
    -- Only what waits is due at some time.
    CONSTRAINT waiting_is_due CHECK ((state IN ('queued', 'retrying')) = (ready_time IS NOT NULL)),
    -- Only what runs is in somebody's hands.
    CONSTRAINT running_has_worker CHECK ((state = 'running') = (worker IS NOT NULL)),
    -- Only what is over has an end.
    CONSTRAINT over_has_end CHECK (
        (state IN ('succeeded', 'dead_lettered')) = (end_time IS NOT NULL)
    ),
    CONSTRAINT success_has_result CHECK ((state = 'succeeded') = (result IS NOT NULL)),
    CONSTRAINT dead_letter_says_why CHECK (state <> 'dead_lettered' OR failure_kind IS NOT NULL),
    CONSTRAINT failure_is_whole CHECK (
        num_nonnulls(failure_kind, failure_message, failure_permanent) IN (0, 3)
    ),
    CONSTRAINT progress_is_a_fraction CHECK (progress_fraction BETWEEN 0 AND 1)
) WITH (
    -- A job's row is rewritten at each claim, step and end; room on its page keeps these updates
    -- away from the indexes, none of whose columns ever change.
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.05
);
CREATE INDEX jobs_by_event ON jobs.jobs (event_id);
COMMENT ON TABLE jobs.jobs IS 'The record of each job; where it waits or runs is said elsewhere.';
COMMENT ON COLUMN jobs.jobs.revision IS 'Grows by one with every change that a watcher may see.';
COMMENT ON COLUMN jobs.jobs.attempt IS 'Attempts begun, those that crashed included.';
COMMENT ON COLUMN jobs.jobs.crash_count IS 'Attempts whose worker was lost.';
COMMENT ON COLUMN jobs.jobs.max_attempts IS 'As the function declared it, without crashes.';
COMMENT ON COLUMN jobs.jobs.epoch IS
    'Counts assignments. A worker writes with the epoch it was given; an older one is fenced off.';
COMMENT ON COLUMN jobs.jobs.closed_session IS
    'The session whose report ended the epoch; empty when the worker was lost.';
COMMENT ON COLUMN jobs.jobs.closed_sequence IS
    'That report''s sequence, by which its repetition is known when the lease is long gone.';

-- States move forwards only along the arrows of services/jobs/states.py; what has ended stays so.
CREATE FUNCTION jobs.refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'job % cannot go from % to %', OLD.job_id, OLD.state, NEW.state
        USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER legal_transition BEFORE UPDATE OF state ON jobs.jobs
    FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
        ('queued', 'running'),
        ('retrying', 'running'),
        ('running', 'queued'),
        ('running', 'retrying'),
        ('running', 'succeeded'),
        ('running', 'dead_lettered')
    ))
    EXECUTE FUNCTION jobs.refuse_transition();


CREATE TABLE jobs.queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL,
    function text NOT NULL,
    tenant text NOT NULL,
    priority smallint NOT NULL,
    ready_time timestamptz NOT NULL DEFAULT now()
) WITH (
    -- Rows live for milliseconds; the dead must go before scans have to step over them.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX queue_by_claim ON jobs.queue (function, tenant, priority DESC, id);
COMMENT ON TABLE jobs.queue IS
    'Jobs that could start now. Rows are inserted and deleted, never updated: no bloat in place.';
COMMENT ON COLUMN jobs.queue.ready_time IS 'Since when it could; the wait is measured from here.';


CREATE TABLE jobs.delayed (
    job_id uuid PRIMARY KEY,
    function text NOT NULL,
    tenant text NOT NULL,
    priority smallint NOT NULL,
    ready_time timestamptz NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX delayed_by_time ON jobs.delayed (ready_time);
COMMENT ON TABLE jobs.delayed IS
    'Jobs that may start later, apart from the queue: however many, no claim has to pass them.';


CREATE TABLE jobs.sessions (
    session_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    worker text NOT NULL,
    stream bigint NOT NULL DEFAULT 1,
    lease_expire_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT worker_is_bounded CHECK (char_length(worker) BETWEEN 1 AND 100)
) WITH (
    -- Renewed at every heartbeat, in place: nothing that changes is indexed.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500
);
COMMENT ON TABLE jobs.sessions IS
    'Workers that live: the lease of all of a worker''s jobs is stored once, here.';
COMMENT ON COLUMN jobs.sessions.tenant IS 'Whose jobs it does; * for those of all.';
COMMENT ON COLUMN jobs.sessions.stream IS
    'Counts the streams that carried it; only the newest may renew, claim or end it.';


CREATE TABLE jobs.leases (
    job_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    epoch bigint NOT NULL,
    session_id uuid NOT NULL,
    last_sequence bigint NOT NULL DEFAULT 0,
    steps_bytes bigint NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX leases_by_session ON jobs.leases (session_id);
COMMENT ON TABLE jobs.leases IS
    'Jobs in a worker''s hands. No foreign key to the session: a claim and a rescue both lock its '
    'row first, which keeps the two in step without a check for every job.';
COMMENT ON COLUMN jobs.leases.last_sequence IS 'The newest report applied; older ones are repeats.';
COMMENT ON COLUMN jobs.leases.steps_bytes IS
    'What the job''s steps take together, so that their sum can be bounded without reading them.';


CREATE TABLE jobs.steps (
    job_id uuid NOT NULL REFERENCES jobs.jobs,
    key text NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    tenant text NOT NULL,
    result json NOT NULL,
    attempt integer NOT NULL,
    end_time timestamptz NOT NULL DEFAULT now(),
    -- A step is stored once; there is no statement that changes it.
    PRIMARY KEY (job_id, key),
    CONSTRAINT key_is_bounded CHECK (char_length(key) BETWEEN 1 AND 200)
);
COMMENT ON TABLE jobs.steps IS 'Finished steps with their results, which are never computed again.';
COMMENT ON COLUMN jobs.steps.number IS 'Orders the steps of a job by completion.';


-- A transaction names its tenant (or *, for the engine's own work) and sees no other's rows.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'events', 'payloads', 'event_keys', 'functions', 'jobs',
        'queue', 'delayed', 'sessions', 'leases', 'steps'
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
-- Functions declared for all are started by everybody's events, so everybody sees them.
CREATE POLICY declared_for_all ON jobs.functions FOR SELECT USING (tenant = '*');
