-- How targets were: by the minute and the hour, their incidents, and what is out of service on
-- purpose. Latencies are in milliseconds, other lengths in seconds; times are those of the health
-- service that wrote the row, in UTC, except create_time and update_time, which are this database's.

CREATE SCHEMA IF NOT EXISTS health;
COMMENT ON SCHEMA health IS
    'Owned by the health service: history, incidents and maintenance. Holds nothing of tenants.';


CREATE FUNCTION health.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.update_time := now();
    RETURN NEW;
END $$;
COMMENT ON FUNCTION health.touch() IS 'Notes when a row was changed, whoever changes it.';

CREATE FUNCTION health.badness(state text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE state WHEN 'unhealthy' THEN 3 WHEN 'unknown' THEN 2 WHEN 'degraded' THEN 1 ELSE 0 END;
COMMENT ON FUNCTION health.badness(text) IS 'Which of two states is worse, as in services/health/state.py.';


CREATE TABLE health.system_health_logs (
    target text NOT NULL,
    observer text NOT NULL,
    minute timestamptz NOT NULL,
    probes integer NOT NULL,
    failures integer NOT NULL,
    latency_sum_ms double precision NOT NULL,
    latency_max_ms double precision NOT NULL,
    healthy_seconds double precision NOT NULL,
    degraded_seconds double precision NOT NULL,
    unhealthy_seconds double precision NOT NULL,
    unknown_seconds double precision NOT NULL,
    maintenance_seconds double precision NOT NULL,
    worst_state text NOT NULL,
    message text NOT NULL DEFAULT '',
    request_id text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (target, minute, observer),
    CONSTRAINT minute_is_whole CHECK (extract(epoch FROM minute) % 60 = 0),
    CONSTRAINT failures_are_probes CHECK (failures BETWEEN 0 AND probes),
    CONSTRAINT time_is_not_negative CHECK (
        least(
            latency_sum_ms, latency_max_ms, healthy_seconds, degraded_seconds, unhealthy_seconds,
            unknown_seconds, maintenance_seconds
        ) >= 0
    ),
    CONSTRAINT state_is_known CHECK (
        worst_state IN ('healthy', 'degraded', 'unhealthy', 'unknown', 'maintenance')
    )
) PARTITION BY RANGE (minute);
CREATE INDEX system_health_logs_by_minute ON health.system_health_logs
    USING brin (minute) WITH (pages_per_range = 32);
CREATE TRIGGER touch BEFORE UPDATE ON health.system_health_logs
    FOR EACH ROW EXECUTE FUNCTION health.touch();
COMMENT ON TABLE health.system_health_logs IS
    'How each target was, by the minute, as one observer saw it; for 90 days, a partition for each '
    'day. Time that an observer did not see (it was down, or stood still) is in no column. What '
    'was observed while PostgreSQL was away for long may be missing: the metric '
    'mainstay_health_rows_dropped_total counts it.';
COMMENT ON COLUMN health.system_health_logs.target IS 'As in reports; `suite` is the whole.';
COMMENT ON COLUMN health.system_health_logs.observer IS
    'The instance of the health service (MAINSTAY_HEALTH_INSTANCE). Several look at the same '
    'targets: their rows are to be averaged, not added.';
COMMENT ON COLUMN health.system_health_logs.minute IS 'Its beginning.';
COMMENT ON COLUMN health.system_health_logs.probes IS
    'Probes that ended; of a service those of all its replicas, of `suite` none.';
COMMENT ON COLUMN health.system_health_logs.failures IS 'Of these, those that found it unhealthy.';
COMMENT ON COLUMN health.system_health_logs.latency_sum_ms IS
    'Over the probes it is the mean, in milliseconds.';
COMMENT ON COLUMN health.system_health_logs.latency_max_ms IS 'Of the slowest, in milliseconds.';
COMMENT ON COLUMN health.system_health_logs.healthy_seconds IS
    'Time in this state, after damping and with what the target needs taken into account.';
COMMENT ON COLUMN health.system_health_logs.degraded_seconds IS 'As healthy_seconds.';
COMMENT ON COLUMN health.system_health_logs.unhealthy_seconds IS 'As healthy_seconds; downtime.';
COMMENT ON COLUMN health.system_health_logs.unknown_seconds IS
    'Time in which the observer knew nothing of the target.';
COMMENT ON COLUMN health.system_health_logs.maintenance_seconds IS
    'Time out of service on purpose; counts neither as up nor as down.';
COMMENT ON COLUMN health.system_health_logs.worst_state IS 'Of those it was in.';
COMMENT ON COLUMN health.system_health_logs.message IS 'Why, when it was in the worst; for people.';
COMMENT ON COLUMN health.system_health_logs.request_id IS
    'Of the probe that found it so; to be found in the logs of the target.';
COMMENT ON COLUMN health.system_health_logs.create_time IS 'When the row was written first.';
COMMENT ON COLUMN health.system_health_logs.update_time IS 'When it was written last.';
-- Takes what no other takes, such as rows of a clock that is wrong.
CREATE TABLE health.system_health_logs_default PARTITION OF health.system_health_logs DEFAULT;


CREATE TABLE health.system_health_hours (
    target text NOT NULL,
    observer text NOT NULL,
    hour timestamptz NOT NULL,
    probes integer NOT NULL,
    failures integer NOT NULL,
    latency_sum_ms double precision NOT NULL,
    latency_max_ms double precision NOT NULL,
    healthy_seconds double precision NOT NULL,
    degraded_seconds double precision NOT NULL,
    unhealthy_seconds double precision NOT NULL,
    unknown_seconds double precision NOT NULL,
    maintenance_seconds double precision NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (target, hour, observer),
    CONSTRAINT hour_is_whole CHECK (extract(epoch FROM hour) % 3600 = 0),
    CONSTRAINT failures_are_probes CHECK (failures BETWEEN 0 AND probes)
) WITH (
    -- Each minute of an hour is added to its row, in place: no index has what changes.
    fillfactor = 70
);
CREATE INDEX system_health_hours_by_hour ON health.system_health_hours
    USING brin (hour) WITH (pages_per_range = 32);
CREATE TRIGGER touch BEFORE UPDATE ON health.system_health_hours
    FOR EACH ROW EXECUTE FUNCTION health.touch();
COMMENT ON TABLE health.system_health_hours IS
    'The sums of system_health_logs by the hour, for 90 days: long spans are read from here.';
COMMENT ON COLUMN health.system_health_hours.target IS 'As in system_health_logs, like the sums.';
COMMENT ON COLUMN health.system_health_hours.observer IS 'The instance of the health service.';
COMMENT ON COLUMN health.system_health_hours.hour IS 'Its beginning.';
COMMENT ON COLUMN health.system_health_hours.latency_sum_ms IS 'In milliseconds.';
COMMENT ON COLUMN health.system_health_hours.latency_max_ms IS 'In milliseconds.';
COMMENT ON COLUMN health.system_health_hours.probes IS 'Probes that ended.';
COMMENT ON COLUMN health.system_health_hours.failures IS 'Of these, those that found it unhealthy.';
COMMENT ON COLUMN health.system_health_hours.healthy_seconds IS 'Time in this state.';
COMMENT ON COLUMN health.system_health_hours.degraded_seconds IS 'Time in this state.';
COMMENT ON COLUMN health.system_health_hours.unhealthy_seconds IS 'Time in this state: downtime.';
COMMENT ON COLUMN health.system_health_hours.unknown_seconds IS 'Time in which nothing was known.';
COMMENT ON COLUMN health.system_health_hours.maintenance_seconds IS 'Time out of service on purpose.';
COMMENT ON COLUMN health.system_health_hours.create_time IS 'When the row was written first.';
COMMENT ON COLUMN health.system_health_hours.update_time IS 'When it was written last.';


CREATE TABLE health.batches (
    batch_id uuid PRIMARY KEY,
    create_time timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE health.batches IS
    'Batches that were added within the last week: one whose commit was not acknowledged is sent '
    'again, and must not be added twice.';
COMMENT ON COLUMN health.batches.batch_id IS 'Made by the observer that wrote it.';
COMMENT ON COLUMN health.batches.create_time IS 'When it was added.';


CREATE TABLE health.incidents (
    incident_id uuid PRIMARY KEY,
    target text NOT NULL,
    observer text NOT NULL,
    worst_state text NOT NULL,
    start_time timestamptz NOT NULL,
    end_time timestamptz,
    because text[] NOT NULL,
    message text NOT NULL,
    request_id text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT state_is_known CHECK (worst_state IN ('degraded', 'unhealthy')),
    CONSTRAINT begins_before_it_ends CHECK (start_time <= end_time)
);
-- Of a target one can be open.
CREATE UNIQUE INDEX incidents_open ON health.incidents (target) WHERE end_time IS NULL;
CREATE INDEX incidents_by_target ON health.incidents (target, start_time, incident_id);
CREATE INDEX incidents_by_time ON health.incidents (start_time, incident_id);
CREATE TRIGGER touch BEFORE UPDATE ON health.incidents
    FOR EACH ROW EXECUTE FUNCTION health.touch();
COMMENT ON TABLE health.incidents IS
    'The times that a target was not well, for 90 days from their end. What several observers see '
    'at the same time is one incident.';
COMMENT ON COLUMN health.incidents.target IS 'As in reports; `suite` is the whole.';
COMMENT ON COLUMN health.incidents.observer IS
    'The instance of the health service that last saw it lasting: it says when it is over, or any '
    'other once this one has been silent for five minutes.';
COMMENT ON COLUMN health.incidents.worst_state IS 'Degraded or unhealthy.';
COMMENT ON COLUMN health.incidents.start_time IS 'When the state changed, after damping.';
COMMENT ON COLUMN health.incidents.end_time IS 'When it was healthy again; null while it lasts.';
COMMENT ON COLUMN health.incidents.because IS
    'The targets that failed by themselves; the target itself when it was the one.';
COMMENT ON COLUMN health.incidents.message IS 'What the probe said, for people.';
COMMENT ON COLUMN health.incidents.request_id IS 'Of the probe that found it.';
COMMENT ON COLUMN health.incidents.incident_id IS 'Made by the observer that saw it first.';
COMMENT ON COLUMN health.incidents.create_time IS 'When the row was written first.';
COMMENT ON COLUMN health.incidents.update_time IS 'When it was written last.';


CREATE TABLE health.maintenance (
    target text PRIMARY KEY,
    mode text NOT NULL,
    start_time timestamptz NOT NULL,
    end_time timestamptz NOT NULL,
    reason text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT mode_is_known CHECK (mode IN ('drain', 'maintenance')),
    CONSTRAINT begins_before_it_ends CHECK (start_time <= end_time)
);
CREATE TRIGGER touch BEFORE UPDATE ON health.maintenance
    FOR EACH ROW EXECUTE FUNCTION health.touch();
COMMENT ON TABLE health.maintenance IS
    'What is out of service on purpose; read every two seconds by every instance. Rows go a day '
    'after their end.';
COMMENT ON COLUMN health.maintenance.target IS
    'A target, a replica (`cache/10.0.0.7:50051`), or `suite` for the whole.';
COMMENT ON COLUMN health.maintenance.mode IS
    'drain: no new traffic; maintenance: no traffic at all.';
COMMENT ON COLUMN health.maintenance.end_time IS 'When it ends by itself.';
COMMENT ON COLUMN health.maintenance.reason IS 'Why, for people; up to 200 characters.';
COMMENT ON COLUMN health.maintenance.start_time IS 'When it begins.';
COMMENT ON COLUMN health.maintenance.create_time IS 'When it was set first.';
COMMENT ON COLUMN health.maintenance.update_time IS 'When it was set last.';


-- While these two functions wait for one who reads, as a backup does for long, all others wait
-- behind them: so they give up soon, and are called again.

CREATE FUNCTION health.ensure_partitions(days_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '300ms' AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    name text;
    begins timestamptz;
    ends timestamptz;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('health.ensure_partitions'));
    FOR day IN
        SELECT d::date FROM generate_series(today, today + days_ahead, interval '1 day') AS d
    LOOP
        name := 'system_health_logs_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('health.' || name) IS NOT NULL;
        begins := day::timestamp AT TIME ZONE 'UTC';
        ends := (day + 1)::timestamp AT TIME ZONE 'UTC';
        EXECUTE format(
            'CREATE TABLE health.%I (LIKE health.system_health_logs INCLUDING ALL)', name
        );
        -- Rows that came before their partition move into it, and none comes meanwhile: who writes
        -- waits at the parent, not on the way to a place that is no longer theirs.
        LOCK TABLE ONLY health.system_health_logs IN SHARE ROW EXCLUSIVE MODE;
        LOCK TABLE health.system_health_logs_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format(
            'WITH moved AS (DELETE FROM health.system_health_logs_default '
            'WHERE minute >= %L AND minute < %L RETURNING *) '
            'INSERT INTO health.%I SELECT * FROM moved',
            begins, ends, name
        );
        EXECUTE format(
            'ALTER TABLE health.system_health_logs ATTACH PARTITION health.%I '
            'FOR VALUES FROM (%L) TO (%L)',
            name, begins, ends
        );
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION health.ensure_partitions(integer) IS
    'Makes the partitions of today and so many days to come; returns how many were missing.';

CREATE FUNCTION health.cleanup_system_health_logs(days integer DEFAULT 90) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '300ms' AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
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
        WHERE i.inhparent = 'health.system_health_logs'::regclass
            AND c.relname ~ '^system_health_logs_\d{8}$'
            AND to_date(right(c.relname, 8), 'YYYYMMDD') < today - days
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE IF EXISTS health.%I', name);
        dropped := dropped + 1;
    END LOOP;
    DELETE FROM health.system_health_logs_default
    WHERE minute < (today - days)::timestamp AT TIME ZONE 'UTC';
    DELETE FROM health.batches WHERE create_time < now() - interval '7 days';
    RETURN dropped;
END $$;
COMMENT ON FUNCTION health.cleanup_system_health_logs(integer) IS
    'Drops the days that are older than so many, and what is as old outside of any; returns how '
    'many days it dropped.';

CREATE FUNCTION health.cleanup_system_health_hours(days integer DEFAULT 90) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    deleted integer;
BEGIN
    IF days < 1 THEN
        RAISE EXCEPTION 'days is %; keep at least 1', days USING ERRCODE = 'check_violation';
    END IF;
    DELETE FROM health.system_health_hours
    WHERE hour < ((now() AT TIME ZONE 'UTC')::date - days)::timestamp AT TIME ZONE 'UTC';
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;
COMMENT ON FUNCTION health.cleanup_system_health_hours(integer) IS
    'Deletes the hours that are older than so many days; returns how many rows it was.';

CREATE FUNCTION health.cleanup_incidents(days integer DEFAULT 90) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    deleted integer;
BEGIN
    IF days < 1 THEN
        RAISE EXCEPTION 'days is %; keep at least 1', days USING ERRCODE = 'check_violation';
    END IF;
    -- A target that is gone is never seen healthy again.
    UPDATE health.incidents AS i
    SET end_time = greatest(i.start_time, i.update_time)
    WHERE i.end_time IS NULL
        AND i.update_time < now() - interval '1 day'
        AND NOT EXISTS (
            SELECT FROM health.system_health_logs AS l
            WHERE l.target = i.target AND l.minute > now() - interval '1 day'
        );
    DELETE FROM health.incidents WHERE end_time < now() - make_interval(days => days);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;
COMMENT ON FUNCTION health.cleanup_incidents(integer) IS
    'Ends the incidents of targets that nobody has observed for a day, and deletes those that '
    'ended more than so many days ago; returns how many rows it deleted.';

CREATE FUNCTION health.cleanup_maintenance(days integer DEFAULT 1) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    deleted integer;
BEGIN
    IF days < 1 THEN
        RAISE EXCEPTION 'days is %; keep at least 1', days USING ERRCODE = 'check_violation';
    END IF;
    DELETE FROM health.maintenance WHERE end_time < now() - make_interval(days => days);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;
COMMENT ON FUNCTION health.cleanup_maintenance(integer) IS
    'Deletes what ended more than so many days ago; returns how many rows it was.';

-- They act with the rights of their owner: who may read or write rows must not drop them.
REVOKE EXECUTE ON FUNCTION
    health.ensure_partitions(integer),
    health.cleanup_system_health_logs(integer),
    health.cleanup_system_health_hours(integer),
    health.cleanup_incidents(integer),
    health.cleanup_maintenance(integer)
    FROM PUBLIC;
SELECT health.ensure_partitions(3);
