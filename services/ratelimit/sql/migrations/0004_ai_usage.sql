-- Calls to AI providers: what they took, gave and cost. Money is in millionths of a US dollar.
-- record_time is the clock of the Redis behind the limits; create_time is this database's.

CREATE TABLE ratelimit.ai_api_usage (
    usage_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    subject text NOT NULL,
    plan text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    operation text NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    latency_us bigint,
    cost_micros bigint,
    error text NOT NULL,
    request_id text NOT NULL,
    record_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tokens_are_counted CHECK (
        input_tokens >= 0 AND output_tokens >= 0
        AND cached_input_tokens BETWEEN 0 AND input_tokens
    ),
    CONSTRAINT time_passes CHECK (latency_us >= 0),
    CONSTRAINT nobody_is_paid CHECK (cost_micros >= 0)
);
-- A request that is repeated is recorded once.
CREATE UNIQUE INDEX ai_api_usage_by_request ON ratelimit.ai_api_usage (tenant, request_id)
    WHERE request_id <> '';
CREATE INDEX ai_api_usage_by_tenant ON ratelimit.ai_api_usage (tenant, record_time);
CREATE INDEX ai_api_usage_by_subject ON ratelimit.ai_api_usage (tenant, subject, record_time);
-- What is old is found by this one; rows come in the order of time, give or take some seconds.
CREATE INDEX ai_api_usage_by_age ON ratelimit.ai_api_usage
    USING brin (record_time) WITH (pages_per_range = 32);
COMMENT ON TABLE ratelimit.ai_api_usage IS 'Calls to AI providers, one row each. Never changed.';
COMMENT ON COLUMN ratelimit.ai_api_usage.usage_id IS 'Made by the replica that recorded it.';
COMMENT ON COLUMN ratelimit.ai_api_usage.plan IS 'The subject''s plan at that time; empty for none.';
COMMENT ON COLUMN ratelimit.ai_api_usage.operation IS 'What it was for; may be empty.';
COMMENT ON COLUMN ratelimit.ai_api_usage.input_tokens IS 'Of the prompt, cached ones included.';
COMMENT ON COLUMN ratelimit.ai_api_usage.cached_input_tokens IS
    'Those of the prompt that the provider had.';
COMMENT ON COLUMN ratelimit.ai_api_usage.latency_us IS
    'Microseconds that the provider took; NULL when not told.';
COMMENT ON COLUMN ratelimit.ai_api_usage.cost_micros IS
    'Millionths of a US dollar; NULL for a model without a price.';
COMMENT ON COLUMN ratelimit.ai_api_usage.error IS 'Why the provider failed; empty when it did not.';
COMMENT ON COLUMN ratelimit.ai_api_usage.request_id IS
    'Names a request that may be repeated; may be empty.';


CREATE FUNCTION ratelimit.delete_old_ai_usage(keep interval, max_rows integer) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH gone AS (
        DELETE FROM ratelimit.ai_api_usage
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM ratelimit.ai_api_usage
            WHERE record_time < now() - keep
            LIMIT max_rows
        ))
        RETURNING 1
    )
    SELECT count(*) FROM gone;
END;
COMMENT ON FUNCTION ratelimit.delete_old_ai_usage IS
    'Deletes at most so many rows that are older; returns how many it was, so that a caller goes on '
    'until it is none. Run as the tenant * it sees all tenants.';


-- A transaction names its tenant (or *, for the service's own work) and sees no other's rows.
ALTER TABLE ratelimit.ai_api_usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE ratelimit.ai_api_usage FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ratelimit.ai_api_usage USING (
    tenant = current_setting('mainstay.tenant', true)
    OR current_setting('mainstay.tenant', true) = '*'
);
