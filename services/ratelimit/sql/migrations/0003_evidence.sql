-- What was decided by the minute, and who was denied what. Times of rows are those of the Redis behind
-- the limits; create_time and update_time are this database's clock.

CREATE SCHEMA IF NOT EXISTS ratelimit;


CREATE TABLE ratelimit.rate_limit_violations (
    violation_id bigint GENERATED ALWAYS AS IDENTITY,
    tenant text NOT NULL,
    subject text NOT NULL,
    rule text NOT NULL,
    endpoint text NOT NULL,
    plan text NOT NULL,
    reason text NOT NULL,
    shadow boolean NOT NULL,
    count bigint NOT NULL,
    start_time timestamptz NOT NULL,
    end_time timestamptz NOT NULL,
    request_id text NOT NULL,
    limit_text text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    -- The newest of a tenant are what people look at, page by page.
    PRIMARY KEY (tenant, start_time, violation_id),
    CONSTRAINT something_was_denied CHECK (count >= 1),
    CONSTRAINT begins_before_it_ends CHECK (start_time <= end_time),
    CONSTRAINT reason_is_known CHECK (
        reason IN ('limit', 'cost_above_limit', 'store_unavailable')
    )
);
CREATE INDEX rate_limit_violations_by_subject ON ratelimit.rate_limit_violations
    (tenant, subject, start_time, violation_id);
-- For operators who page through those of all tenants, which a BRIN index cannot sort.
CREATE INDEX rate_limit_violations_by_time ON ratelimit.rate_limit_violations
    (start_time, violation_id);
-- What is old is found by this one; rows come in the order of time, give or take some seconds.
CREATE INDEX rate_limit_violations_by_age ON ratelimit.rate_limit_violations
    USING brin (start_time) WITH (pages_per_range = 32);
COMMENT ON TABLE ratelimit.rate_limit_violations IS
    'Denials: those of one subject by one rule within a second or so are one row. Never changed.';
COMMENT ON COLUMN ratelimit.rate_limit_violations.plan IS 'Empty for none.';
COMMENT ON COLUMN ratelimit.rate_limit_violations.reason IS
    'limit: used up; cost_above_limit: can never pass; store_unavailable: the rule''s failure mode.';
COMMENT ON COLUMN ratelimit.rate_limit_violations.shadow IS
    'Whether the rule only watched: the act went ahead.';
COMMENT ON COLUMN ratelimit.rate_limit_violations.count IS 'How many denials, 1 or more.';
COMMENT ON COLUMN ratelimit.rate_limit_violations.start_time IS 'Of the first of them.';
COMMENT ON COLUMN ratelimit.rate_limit_violations.end_time IS 'Of the last of them.';
COMMENT ON COLUMN ratelimit.rate_limit_violations.request_id IS
    'The call in which the first of them happened; may be empty.';
COMMENT ON COLUMN ratelimit.rate_limit_violations.limit_text IS
    'The limit that denied, as the policy wrote it then, such as 50/min.';


CREATE TABLE ratelimit.rate_limit_statistics (
    tenant text NOT NULL,
    rule text NOT NULL,
    plan text NOT NULL,
    minute timestamptz NOT NULL,
    allowed bigint NOT NULL DEFAULT 0,
    denied bigint NOT NULL DEFAULT 0,
    shadow_denied bigint NOT NULL DEFAULT 0,
    degraded bigint NOT NULL DEFAULT 0,
    dropped bigint NOT NULL DEFAULT 0,
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, rule, plan, minute),
    CONSTRAINT minute_is_whole CHECK (extract(epoch FROM minute) % 60 = 0)
) WITH (
    -- Every replica adds to the row of its minute every second: updates in place, of columns that no
    -- index has, and then none for ever.
    fillfactor = 50
);
CREATE INDEX rate_limit_statistics_by_minute ON ratelimit.rate_limit_statistics
    USING brin (minute) WITH (pages_per_range = 32);
COMMENT ON TABLE ratelimit.rate_limit_statistics IS
    'What was decided, by the minute: a row for each tenant, rule and plan.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics.tenant IS
    '(other) for those that came when a replica had too many to count each.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics.rule IS
    'Empty in a row that only tells what was dropped.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics.plan IS 'Empty for none.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics.allowed IS 'Checks that were allowed.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics.denied IS 'Checks that were denied.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics.shadow_denied IS
    'Checks that a rule in shadow would have denied; they count as allowed too.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics.degraded IS
    'Checks that were decided without the counters.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics.dropped IS
    'Denials and checks of which something was not recorded: there was more than could be held.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics.update_time IS 'When a replica added to it last.';


CREATE TABLE ratelimit.rate_limit_statistics_by_hour (
    tenant text NOT NULL,
    rule text NOT NULL,
    plan text NOT NULL,
    hour timestamptz NOT NULL,
    allowed bigint NOT NULL DEFAULT 0,
    denied bigint NOT NULL DEFAULT 0,
    shadow_denied bigint NOT NULL DEFAULT 0,
    degraded bigint NOT NULL DEFAULT 0,
    dropped bigint NOT NULL DEFAULT 0,
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, rule, plan, hour),
    CONSTRAINT hour_is_whole CHECK (extract(epoch FROM hour) % 3600 = 0)
) WITH (fillfactor = 50);
CREATE INDEX rate_limit_statistics_by_hour_by_hour ON ratelimit.rate_limit_statistics_by_hour
    USING brin (hour) WITH (pages_per_range = 32);
COMMENT ON TABLE ratelimit.rate_limit_statistics_by_hour IS
    'The same counts as in rate_limit_statistics, by the hour, written together with them: what long '
    'windows are summed up from. Columns are as there.';


CREATE TABLE ratelimit.evidence_batches (
    batch_id uuid PRIMARY KEY,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX evidence_batches_by_time ON ratelimit.evidence_batches (create_time);
COMMENT ON TABLE ratelimit.evidence_batches IS
    'Batches that were added within the last day: one whose commit was not acknowledged is sent '
    'again, and must not be added twice. Holds nothing of tenants.';


CREATE FUNCTION ratelimit.delete_old_evidence(keep interval, max_rows integer) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    DELETE FROM ratelimit.evidence_batches WHERE create_time < now() - interval '1 day';
    WITH violations AS (
        DELETE FROM ratelimit.rate_limit_violations
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM ratelimit.rate_limit_violations
            WHERE start_time < now() - keep
            LIMIT max_rows
        ))
        RETURNING 1
    ),
    statistics AS (
        DELETE FROM ratelimit.rate_limit_statistics
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM ratelimit.rate_limit_statistics
            WHERE minute < now() - least(keep, interval '30 days')
            LIMIT max_rows
        ))
        RETURNING 1
    ),
    hours AS (
        DELETE FROM ratelimit.rate_limit_statistics_by_hour
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM ratelimit.rate_limit_statistics_by_hour
            WHERE hour < now() - keep
            LIMIT max_rows
        ))
        RETURNING 1
    )
    -- The most of one table: a caller goes on while a table may have more than was deleted.
    SELECT greatest(
        (SELECT count(*) FROM violations),
        (SELECT count(*) FROM statistics),
        (SELECT count(*) FROM hours)
    );
END;
COMMENT ON FUNCTION ratelimit.delete_old_evidence IS
    'Deletes at most so many rows of each table that are older, minutes after 30 days at the latest; '
    'returns how many it was of the table with most, so that a caller goes on until it is none. Run '
    'as the tenant * it sees all tenants.';


-- A transaction names its tenant (or *, for the service's own work) and sees no other's rows.
ALTER TABLE ratelimit.rate_limit_violations ENABLE ROW LEVEL SECURITY;
ALTER TABLE ratelimit.rate_limit_violations FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ratelimit.rate_limit_violations USING (
    tenant = current_setting('mainstay.tenant', true)
    OR current_setting('mainstay.tenant', true) = '*'
);
ALTER TABLE ratelimit.rate_limit_statistics_by_hour ENABLE ROW LEVEL SECURITY;
ALTER TABLE ratelimit.rate_limit_statistics_by_hour FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ratelimit.rate_limit_statistics_by_hour USING (
    tenant = current_setting('mainstay.tenant', true)
    OR current_setting('mainstay.tenant', true) = '*'
);
ALTER TABLE ratelimit.rate_limit_statistics ENABLE ROW LEVEL SECURITY;
ALTER TABLE ratelimit.rate_limit_statistics FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ratelimit.rate_limit_statistics USING (
    tenant = current_setting('mainstay.tenant', true)
    OR current_setting('mainstay.tenant', true) = '*'
);
