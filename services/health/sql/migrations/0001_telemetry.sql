-- What all services tell about the calls they serve and the work they measure. Durations are in
-- milliseconds; times are those of the service that wrote the row, in UTC.

CREATE SCHEMA IF NOT EXISTS telemetry;
COMMENT ON SCHEMA telemetry IS
    'Written by every service, kept by the health service: the request log and the performance of '
    'methods and measured work.';


CREATE TABLE telemetry.api_request_logs (
    time timestamptz NOT NULL,
    service text NOT NULL,
    instance text NOT NULL,
    method text NOT NULL,
    code text NOT NULL,
    reason text NOT NULL DEFAULT '',
    duration_ms double precision NOT NULL,
    request_id text NOT NULL,
    trace_id text NOT NULL DEFAULT '',
    tenant text NOT NULL,
    principal text NOT NULL,
    stands_for integer NOT NULL DEFAULT 1,
    error text,
    CONSTRAINT stands_for_itself_at_least CHECK (stands_for >= 1),
    CONSTRAINT duration_is_not_negative CHECK (duration_ms >= 0)
) PARTITION BY RANGE (time);
-- A batch whose commit was not acknowledged is written again: the same call is the same row.
CREATE UNIQUE INDEX api_request_logs_by_request
    ON telemetry.api_request_logs (request_id, time, instance);
CREATE INDEX api_request_logs_by_tenant ON telemetry.api_request_logs (tenant, time);
CREATE INDEX api_request_logs_errors ON telemetry.api_request_logs (time, method)
    WHERE code <> 'OK';
CREATE INDEX api_request_logs_by_time ON telemetry.api_request_logs
    USING brin (time) WITH (pages_per_range = 32);
COMMENT ON TABLE telemetry.api_request_logs IS
    'A row for every call that failed and for those of the others that have a log line, for 30 '
    'days; a partition for each day. Health checks have none. Rows that came while PostgreSQL was '
    'away for long may be missing: the metric mainstay_telemetry_rows_dropped_total counts them.';
COMMENT ON COLUMN telemetry.api_request_logs.time IS 'When the call ended.';
COMMENT ON COLUMN telemetry.api_request_logs.service IS 'Which one was called.';
COMMENT ON COLUMN telemetry.api_request_logs.instance IS
    'The process: host, process id, and a word that no other process of that id had.';
COMMENT ON COLUMN telemetry.api_request_logs.method IS 'Without a leading slash.';
COMMENT ON COLUMN telemetry.api_request_logs.code IS 'Of gRPC, by name.';
COMMENT ON COLUMN telemetry.api_request_logs.reason IS 'Of the error; empty where there is none.';
COMMENT ON COLUMN telemetry.api_request_logs.duration_ms IS
    'From the first byte of the call to its status, in milliseconds.';
COMMENT ON COLUMN telemetry.api_request_logs.trace_id IS 'Of 32 hex digits; empty for none.';
COMMENT ON COLUMN telemetry.api_request_logs.request_id IS
    'Of the call: what a search through all logs begins with.';
COMMENT ON COLUMN telemetry.api_request_logs.tenant IS
    'Empty for a call that was refused before it had one; only * sees those.';
COMMENT ON COLUMN telemetry.api_request_logs.principal IS 'Who called, by name.';
COMMENT ON COLUMN telemetry.api_request_logs.stands_for IS
    'How many calls of the method the row stands for, itself included: at high rates those that '
    'end well are sampled. A sum of it is the number of calls; calls that failed count once.';
COMMENT ON COLUMN telemetry.api_request_logs.error IS
    'What the caller was told, with what looks like a secret masked, cut to 300 characters.';
-- Takes what no other takes, such as rows of a clock that is wrong.
CREATE TABLE telemetry.api_request_logs_default PARTITION OF telemetry.api_request_logs DEFAULT;


CREATE TABLE telemetry.performance_metrics (
    minute timestamptz NOT NULL,
    service text NOT NULL,
    instance text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    count bigint NOT NULL,
    errors bigint NOT NULL,
    total_ms double precision NOT NULL,
    min_ms double precision NOT NULL,
    max_ms double precision NOT NULL,
    p50_ms double precision NOT NULL,
    p95_ms double precision NOT NULL,
    p99_ms double precision NOT NULL,
    PRIMARY KEY (minute, service, instance, kind, name),
    CONSTRAINT minute_is_whole CHECK (extract(epoch FROM minute) % 60 = 0),
    CONSTRAINT kind_is_known CHECK (kind IN ('rpc', 'measured')),
    CONSTRAINT errors_are_counted CHECK (errors BETWEEN 0 AND count)
) PARTITION BY RANGE (minute);
CREATE INDEX performance_metrics_by_name ON telemetry.performance_metrics (name, minute);
CREATE INDEX performance_metrics_by_minute ON telemetry.performance_metrics
    USING brin (minute) WITH (pages_per_range = 32);
COMMENT ON TABLE telemetry.performance_metrics IS
    'How often and how fast, by the minute, process and name, for 90 days; a partition for each '
    'day. A minute in which nothing happened has no row. Holds nothing of tenants.';
COMMENT ON COLUMN telemetry.performance_metrics.minute IS 'Its beginning.';
COMMENT ON COLUMN telemetry.performance_metrics.service IS 'Whose process it was.';
COMMENT ON COLUMN telemetry.performance_metrics.instance IS
    'The process: host, process id, and a word that no other process of that id had.';
COMMENT ON COLUMN telemetry.performance_metrics.kind IS
    'rpc: a method that was called; measured: work inside of a service.';
COMMENT ON COLUMN telemetry.performance_metrics.name IS 'Of the method, or of the work.';
COMMENT ON COLUMN telemetry.performance_metrics.count IS 'How many ended within the minute.';
COMMENT ON COLUMN telemetry.performance_metrics.errors IS
    'Of the count, those that did not end well: an rpc with a code other than OK, work that raised.';
COMMENT ON COLUMN telemetry.performance_metrics.total_ms IS
    'Sum of the durations, in milliseconds; over the count it is the mean.';
COMMENT ON COLUMN telemetry.performance_metrics.min_ms IS
    'Shortest duration in milliseconds; of an rpc the lower bound of its bucket.';
COMMENT ON COLUMN telemetry.performance_metrics.max_ms IS
    'Longest duration in milliseconds; of an rpc the upper bound of its bucket (the highest bucket '
    'has none but its beginning).';
COMMENT ON COLUMN telemetry.performance_metrics.p50_ms IS
    'Median in milliseconds; as the other percentiles interpolated within a bucket of the histogram '
    'that Prometheus sees, so that no call pays for it.';
COMMENT ON COLUMN telemetry.performance_metrics.p95_ms IS
    'What 95 of 100 did not exceed, in milliseconds, as p50_ms.';
COMMENT ON COLUMN telemetry.performance_metrics.p99_ms IS
    'What 99 of 100 did not exceed, in milliseconds, as p50_ms.';
-- Takes what no other takes, such as rows of a clock that is wrong.
CREATE TABLE telemetry.performance_metrics_default
    PARTITION OF telemetry.performance_metrics DEFAULT;


-- While these functions wait for one who reads, as a backup does for long, all others wait behind
-- them: so they give up soon, and are called again.

CREATE FUNCTION telemetry.ensure_partitions(days_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '300ms' AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    parent record;
    day date;
    name text;
    begins timestamptz;
    ends timestamptz;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('telemetry.ensure_partitions'));
    FOR parent IN
        SELECT * FROM (VALUES
            ('api_request_logs', 'time', true), ('performance_metrics', 'minute', false)
        ) AS parents (relation, key, bound)
    LOOP
        FOR day IN
            SELECT d::date FROM generate_series(
                today, today + days_ahead, interval '1 day'
            ) AS d
        LOOP
            name := parent.relation || '_' || to_char(day, 'YYYYMMDD');
            CONTINUE WHEN to_regclass('telemetry.' || name) IS NOT NULL;
            begins := day::timestamp AT TIME ZONE 'UTC';
            ends := (day + 1)::timestamp AT TIME ZONE 'UTC';
            EXECUTE format(
                'CREATE TABLE telemetry.%I (LIKE telemetry.%I INCLUDING ALL)',
                name, parent.relation
            );
            IF parent.bound THEN
                EXECUTE format('ALTER TABLE telemetry.%I ENABLE ROW LEVEL SECURITY', name);
            END IF;
            -- Rows that came before their partition move into it, and none comes meanwhile: who
            -- writes waits at the parent, not on the way to a place that is no longer theirs.
            EXECUTE format(
                'LOCK TABLE ONLY telemetry.%I IN SHARE ROW EXCLUSIVE MODE', parent.relation
            );
            EXECUTE format(
                'LOCK TABLE telemetry.%I IN ACCESS EXCLUSIVE MODE', parent.relation || '_default'
            );
            EXECUTE format(
                'WITH moved AS (DELETE FROM telemetry.%1$I WHERE %2$I >= %3$L AND %2$I < %4$L '
                'RETURNING *) INSERT INTO telemetry.%5$I SELECT * FROM moved',
                parent.relation || '_default', parent.key, begins, ends, name
            );
            EXECUTE format(
                'ALTER TABLE telemetry.%I ATTACH PARTITION telemetry.%I '
                'FOR VALUES FROM (%L) TO (%L)',
                parent.relation, name, begins, ends
            );
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION telemetry.ensure_partitions(integer) IS
    'Makes the partitions of today and so many days to come, of both tables; returns how many were '
    'missing.';

CREATE FUNCTION telemetry.drop_days(relation text, key text, days integer) RETURNS integer
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
        WHERE i.inhparent = format('telemetry.%I', relation)::regclass
            AND c.relname ~ ('^' || relation || '_\d{8}$')
            AND to_date(right(c.relname, 8), 'YYYYMMDD')
                < (now() AT TIME ZONE 'UTC')::date - days
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE telemetry.%I', name);
        dropped := dropped + 1;
    END LOOP;
    EXECUTE format(
        'DELETE FROM telemetry.%I '
        'WHERE %I < ((now() AT TIME ZONE ''UTC'')::date - %L::integer)::timestamp '
        'AT TIME ZONE ''UTC''',
        relation || '_default', key, days
    );
    RETURN dropped;
END $$;
COMMENT ON FUNCTION telemetry.drop_days(text, text, integer) IS
    'Drops the days of a table that are older than so many, and what is as old outside of any; '
    'returns how many days it dropped.';

CREATE FUNCTION telemetry.cleanup_api_request_logs(days integer DEFAULT 30) RETURNS integer
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT telemetry.drop_days('api_request_logs', 'time', days) $$;
COMMENT ON FUNCTION telemetry.cleanup_api_request_logs(integer) IS
    'Drops the days of the request log that are older than so many; returns how many it dropped.';

CREATE FUNCTION telemetry.cleanup_performance_metrics(days integer DEFAULT 90) RETURNS integer
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT telemetry.drop_days('performance_metrics', 'minute', days) $$;
COMMENT ON FUNCTION telemetry.cleanup_performance_metrics(integer) IS
    'Drops the days of performance that are older than so many; returns how many it dropped.';


-- They act with the rights of their owner: who may read or write rows must not drop them.
REVOKE EXECUTE ON FUNCTION
    telemetry.ensure_partitions(integer),
    telemetry.drop_days(text, text, integer),
    telemetry.cleanup_api_request_logs(integer),
    telemetry.cleanup_performance_metrics(integer)
    FROM PUBLIC;

-- A transaction names its tenant (or *, for the services' own work) and sees no other's rows.
ALTER TABLE telemetry.api_request_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE telemetry.api_request_logs FORCE ROW LEVEL SECURITY;
-- None is empty: so is the setting where an earlier transaction of the session named one.
CREATE POLICY tenant ON telemetry.api_request_logs USING (
    tenant = nullif(current_setting('mainstay.tenant', true), '')
    OR current_setting('mainstay.tenant', true) = '*'
);
ALTER TABLE telemetry.api_request_logs_default ENABLE ROW LEVEL SECURITY;
SELECT telemetry.ensure_partitions(3);
