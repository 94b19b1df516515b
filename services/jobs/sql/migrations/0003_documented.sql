-- What every column means; when a job was changed last, kept by the database; a cleanup that leaves
-- nothing behind.

-- A constant for the rows there are: no table is rewritten. No index has it, so that updates of a
-- job stay on its page.
ALTER TABLE jobs.jobs ADD COLUMN update_time timestamptz NOT NULL DEFAULT now();
CREATE TRIGGER touch BEFORE UPDATE ON jobs.jobs
    FOR EACH ROW EXECUTE FUNCTION jobs.touch();
COMMENT ON FUNCTION jobs.touch() IS 'Notes when a row was changed, whoever changes it.';

CREATE OR REPLACE VIEW jobs.job_queue WITH (security_invoker = true) AS
SELECT
    job_id, tenant, function, event_name, state, priority, attempt,
    max_attempts + crash_count AS max_attempts, progress_fraction, failure_kind, failure_message,
    request_id, worker, create_time, start_time, ready_time, end_time, update_time
FROM jobs.jobs
UNION ALL
SELECT
    job_id, tenant, function, event_name, state, priority, attempt,
    max_attempts + crash_count, progress_fraction, failure_kind, failure_message,
    request_id, NULL, create_time, start_time, NULL, end_time, end_time
FROM jobs.history;


-- As before, but no row is in its way that comes meanwhile, nor is it in the way of any: where the day
-- of today is missing, who ends a job waits at the history for its partition. It gives up soon where
-- somebody reads the history for long, since others would wait behind it.
CREATE OR REPLACE FUNCTION jobs.ensure_partitions(days_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '300ms' AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    name text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('jobs.ensure_partitions'));
    FOR day IN
        SELECT d::date FROM generate_series(today, today + days_ahead, interval '1 day') AS d
    LOOP
        name := 'history_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('jobs.' || name) IS NOT NULL;
        EXECUTE format('CREATE TABLE jobs.%I (LIKE jobs.history INCLUDING ALL)', name);
        EXECUTE format('ALTER TABLE jobs.%I ENABLE ROW LEVEL SECURITY', name);
        -- Rows that came before their partition move into it. None comes before its day.
        IF day = today THEN
            LOCK TABLE ONLY jobs.history IN SHARE ROW EXCLUSIVE MODE;
        END IF;
        LOCK TABLE jobs.history_default IN ACCESS EXCLUSIVE MODE;
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


-- As before, and what is as old outside of any day: rows that came while nobody made partitions.
-- While it waits for one who reads the history, as a backup does for long, all others wait behind
-- it: so it gives up soon, and is called again in an hour.
CREATE OR REPLACE FUNCTION jobs.cleanup_job_queue(days integer DEFAULT 30) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '300ms' AS $$
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
    DELETE FROM jobs.history_default
    WHERE end_time < ((now() AT TIME ZONE 'UTC')::date - days)::timestamp AT TIME ZONE 'UTC';
    RETURN dropped;
END $$;
COMMENT ON FUNCTION jobs.cleanup_job_queue(integer) IS
    'Drops the days of the history that are older than so many, and what is as old outside of any; '
    'returns how many days it dropped.';


-- Waits for no writer and stops none: a comment's lock is one that only changes of a table want.
-- First what a column means wherever it stands and nothing more particular is said of it.
DO $$
DECLARE
    silent record;
BEGIN
    FOR silent IN
        SELECT c.relname AS relation, a.attname AS name, said.meaning
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN (VALUES
            ('job_id', 'A UUIDv7: ids sort by creation.'),
            ('tenant', 'Whose row it is; other tenants do not see it.'),
            ('function', 'The name of the function that does the job.'),
            ('event_id', 'The event that started it.'),
            ('event_name', 'The name of that event; empty for one that was enqueued by function.'),
            ('data', 'The payload, as it was sent.'),
            ('state', 'As in JobState of the contract, in lower case.'),
            ('revision', 'Grows by one with every change that a watcher may see.'),
            ('attempt', 'Attempts begun, those that crashed included.'),
            ('crash_count', 'Attempts whose worker was lost.'),
            ('max_attempts', 'As the function declared it, without crashes.'),
            ('initial_backoff', 'The wait before the second attempt.'),
            ('max_backoff', 'The longest wait before an attempt.'),
            ('priority', 'From -100 to 100; more goes first, a point is worth 10 s of waiting.'),
            ('key', 'What a cap or rate by key counts it under; empty for none.'),
            ('version', 'Of the function that began its first attempt; empty for none.'),
            ('epoch', 'Counts assignments to workers; what an older one reports is refused.'),
            ('worker', 'The name of the worker that has it; null while nobody does.'),
            ('parent_job_id', 'The job that invoked it; null for none.'),
            ('parent_key', 'The step of that job that waits for it.'),
            ('schedule', 'The schedule that started it; empty for none.'),
            ('progress_fraction', 'From 0 to 1, as the function last said.'),
            ('progress_message', 'As the function last said.'),
            ('progress_partial', 'A part of the result, as the function last said.'),
            ('result', 'What the function returned; null until it has succeeded.'),
            ('failure_kind', 'What kind of error its last attempt ended with; null for none.'),
            ('failure_message', 'The text of that error.'),
            ('failure_permanent', 'Whether that error is not worth another attempt.'),
            ('cancel_time', 'When somebody asked to cancel it; null for never.'),
            ('cancel_reason', 'Why, as they said.'),
            ('cancel_rollback', 'Whether its steps are undone then.'),
            ('rollback_outcome', 'Where it goes, or went, once its steps are undone.'),
            ('rollback_attempt',
                'Turns at undoing that have begun since the last step was undone.'),
            ('rollback_failure_kind', 'What kind of error the undoing ended with; null for none.'),
            ('rollback_failure_message', 'The text of that error.'),
            ('request_id', 'Of the call that caused it.'),
            ('traceparent', 'W3C trace context of that call; may be empty.'),
            ('closed_session',
                'The session whose report ended the epoch; empty when the worker was lost.'),
            ('closed_sequence',
                'That report''s sequence, by which its repetition is known.'),
            ('create_time', 'When it was made.'),
            ('start_time', 'When its first attempt began; null before.'),
            ('ready_time', 'When the next turn may begin; null unless it waits for one.'),
            ('end_time', 'When it ended; null before.'),
            ('update_time', 'When it was changed last.')
        ) AS said (name, meaning) ON said.name = a.attname
        WHERE c.relnamespace = 'jobs'::regnamespace
            AND c.relkind IN ('r', 'p', 'v')
            AND NOT c.relispartition
            AND col_description(c.oid, a.attnum) IS NULL
    LOOP
        EXECUTE format(
            'COMMENT ON COLUMN jobs.%I.%I IS %L', silent.relation, silent.name, silent.meaning
        );
    END LOOP;
END $$;

COMMENT ON COLUMN jobs.history.state IS 'How it ended: succeeded, cancelled or discarded.';
COMMENT ON COLUMN jobs.history.end_time IS 'When it ended; its day names the partition (UTC).';
COMMENT ON COLUMN jobs.job_queue.update_time IS
    'When it was changed last; of a job that is over, when it ended.';

COMMENT ON COLUMN jobs.events.event_id IS 'A UUID.';
COMMENT ON COLUMN jobs.events.name IS 'Such as video/upload.completed.';
COMMENT ON TABLE jobs.events IS 'Of replicas of version 1 alone: the events they accepted.';
COMMENT ON TABLE jobs.payloads IS 'Of replicas of version 1 alone: the payloads of their events.';
COMMENT ON TABLE jobs.queue IS
    'Of replicas of version 1 alone: what they queue goes on to `ready` at once.';
COMMENT ON COLUMN jobs.queue.id IS 'In the order of queueing.';
COMMENT ON COLUMN jobs.event_keys.key IS 'As the caller said; 1 to 200 bytes.';
COMMENT ON COLUMN jobs.event_keys.event_id IS 'The event that was accepted under it.';

COMMENT ON COLUMN jobs.functions.name IS 'As its worker declared it.';
COMMENT ON COLUMN jobs.functions.trigger IS 'The event that starts it; empty for none.';
COMMENT ON COLUMN jobs.functions.version IS 'The newest that was declared; empty for none.';
COMMENT ON COLUMN jobs.functions.version_policy IS
    'What becomes of jobs that another version has begun: continue, pin or fail.';
COMMENT ON COLUMN jobs.functions.timeout IS 'How long one turn may take; null for any time.';
COMMENT ON COLUMN jobs.functions.hang_timeout IS
    'How long a turn may give no sign of life; null leaves it to the service.';
COMMENT ON COLUMN jobs.functions.start_timeout IS
    'How long a job may wait for its first attempt; null for any time.';
COMMENT ON COLUMN jobs.functions.priority IS 'Of jobs whose event names none, from -100 to 100.';
COMMENT ON COLUMN jobs.functions.key_pointer IS
    'JSON pointer to the key in the payload; empty for none.';
COMMENT ON COLUMN jobs.functions.rate_endpoint IS
    'The endpoint that a start is charged to at the rate limit service; empty for no rate.';
COMMENT ON COLUMN jobs.functions.rate_subject IS
    'Who is charged: a subject, or a JSON pointer to it; empty for the tenant.';
COMMENT ON COLUMN jobs.functions.debounce_period IS
    'How long it has to be quiet before it starts; null for no waiting.';
COMMENT ON COLUMN jobs.functions.debounce_key IS
    'JSON pointer to what is debounced apart; empty for all together.';
COMMENT ON COLUMN jobs.functions.debounce_max_wait IS
    'The longest that further events may put it off; null for any time.';
COMMENT ON COLUMN jobs.functions.idempotency IS
    'JSON pointer to a value for which it runs once; empty for always.';
COMMENT ON COLUMN jobs.functions.overflow_policy IS
    'What happens when too much waits: reject, shed_oldest or spill; empty for nothing.';
COMMENT ON COLUMN jobs.functions.overflow_depth IS 'Jobs that are too much; 0 for any number.';
COMMENT ON COLUMN jobs.functions.overflow_age IS 'An age that is too much; null for any.';
COMMENT ON COLUMN jobs.functions.overflow_bytes IS
    'Bytes of payloads that are too much; 0 for any number.';
COMMENT ON COLUMN jobs.functions.spill_delay IS 'By how much spilled jobs are put off.';

COMMENT ON COLUMN jobs.ready.key IS 'As of the job.';
COMMENT ON COLUMN jobs.ready.bytes IS 'Of the payload.';
COMMENT ON COLUMN jobs.delayed.ready_time IS 'When it may start.';

COMMENT ON COLUMN jobs.queues.name IS 'The function whose jobs it holds.';
COMMENT ON COLUMN jobs.queues.paused IS 'Whether none of them starts now.';

COMMENT ON COLUMN jobs.sessions.session_id IS 'A UUID; a worker that reconnects names it.';
COMMENT ON COLUMN jobs.sessions.worker IS 'As the worker calls itself; 1 to 100 characters.';
COMMENT ON COLUMN jobs.sessions.lease_expire_time IS
    'When its jobs go to others unless a heartbeat comes before.';

COMMENT ON COLUMN jobs.leases.epoch IS 'The assignment that is leased.';
COMMENT ON COLUMN jobs.leases.session_id IS 'Who has it.';
COMMENT ON COLUMN jobs.leases.create_time IS 'When the turn began.';
COMMENT ON COLUMN jobs.leases.hang_timeout IS
    'How long the turn may give no sign of life; null leaves it to the service.';

COMMENT ON COLUMN jobs.steps.key IS 'The name of the step in its function; 1 to 200 characters.';
COMMENT ON COLUMN jobs.steps.kind IS 'run, sleep, event, signal or invoke.';
COMMENT ON COLUMN jobs.steps.result IS 'What it returned.';
COMMENT ON COLUMN jobs.steps.attempt IS 'The attempt of the job that finished it.';
COMMENT ON COLUMN jobs.steps.end_time IS 'When it was finished.';
COMMENT ON COLUMN jobs.steps.compensate_time IS 'When it was undone; null while it was not.';

COMMENT ON COLUMN jobs.waits.key IS 'The name of the step in its function.';
COMMENT ON COLUMN jobs.waits.kind IS 'sleep, event, signal or invoke.';
COMMENT ON COLUMN jobs.waits.due_time IS 'When the wait ends at the latest; null for never.';
COMMENT ON COLUMN jobs.waits.create_time IS 'When it began.';

COMMENT ON COLUMN jobs.signals.id IS 'In the order of arrival.';
COMMENT ON COLUMN jobs.signals.name IS 'Of the signal.';
COMMENT ON COLUMN jobs.signals.data IS 'What was sent with it.';

COMMENT ON COLUMN jobs.job_keys.key IS 'The value in the payload.';
COMMENT ON COLUMN jobs.debounces.key IS 'The value in the payload; empty for all together.';
COMMENT ON COLUMN jobs.debounces.first_time IS 'When the first of the events came.';

COMMENT ON COLUMN jobs.schedules.name IS 'As its creator called it.';
COMMENT ON COLUMN jobs.schedules.cron IS 'Five fields, as in crontab(5).';
COMMENT ON COLUMN jobs.schedules.time_zone IS 'In which they are read, such as Europe/Berlin.';
COMMENT ON COLUMN jobs.schedules.event IS
    'The event that it sends; empty when it starts a function.';
COMMENT ON COLUMN jobs.schedules.function IS
    'The function that it starts; empty when it sends an event.';
COMMENT ON COLUMN jobs.schedules.catch_up IS
    'Which of the ticks that were missed take place later: none, latest or all.';
COMMENT ON COLUMN jobs.schedules.paused IS 'Whether it does nothing now.';
COMMENT ON COLUMN jobs.schedules.system IS 'Whether it is the service''s own.';
COMMENT ON COLUMN jobs.schedules.next_time IS 'The next tick; null while it is paused.';
COMMENT ON COLUMN jobs.schedules.last_time IS
    'The last tick that took place; null before the first.';

COMMENT ON COLUMN jobs.event_schemas.name IS 'The event whose payloads it describes.';
COMMENT ON COLUMN jobs.event_schemas.version IS 'Counts from 1 for each name.';
COMMENT ON COLUMN jobs.event_schemas.schema IS 'JSON Schema, draft 2020-12, as it was put.';
COMMENT ON COLUMN jobs.event_schemas.create_time IS 'When it was put.';
