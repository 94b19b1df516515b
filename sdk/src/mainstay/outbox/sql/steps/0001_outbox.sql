-- An outbox: what transactions of this database have for the jobs of Mainstay, until a relay has
-- taken it there. Sizes are bytes, times are this database's clock. For PostgreSQL 13 and newer.

CREATE SCHEMA mainstay_outbox;
COMMENT ON SCHEMA mainstay_outbox IS
    'What transactions of this database have for the jobs of Mainstay, on its way there.';


CREATE TABLE mainstay_outbox.versions (
    version integer PRIMARY KEY,
    apply_time timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE mainstay_outbox.versions IS 'The steps that made this schema what it is.';
INSERT INTO mainstay_outbox.versions (version) VALUES (1);


CREATE TABLE mainstay_outbox.messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL DEFAULT 0,
    data jsonb NOT NULL,
    data_bytes integer NOT NULL GENERATED ALWAYS AS (octet_length(data::text)) STORED,
    idempotency_key text NOT NULL,
    priority integer,
    delay interval,
    tenant text,
    request_id text,
    traceparent text,
    create_time timestamptz NOT NULL DEFAULT now(),
    next_attempt_time timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    last_error text,
    fail_time timestamptz,
    CONSTRAINT kind_is_known CHECK (kind IN ('event', 'job')),
    -- What the service would refuse whatever else holds is refused here, in the transaction that
    -- can still do something about it.
    CONSTRAINT name_is_bounded CHECK (octet_length(name) BETWEEN 1 AND 200),
    CONSTRAINT version_is_not_negative CHECK (version >= 0),
    CONSTRAINT data_is_an_object CHECK (jsonb_typeof(data) = 'object'),
    CONSTRAINT data_is_at_most_1_mib CHECK (data_bytes <= 1048576),
    CONSTRAINT idempotency_key_is_bounded CHECK (octet_length(idempotency_key) BETWEEN 1 AND 200),
    CONSTRAINT priority_is_bounded CHECK (priority BETWEEN -100 AND 100),
    CONSTRAINT delay_is_bounded CHECK (delay BETWEEN interval '0' AND interval '365 days'),
    CONSTRAINT tenant_is_a_name CHECK (tenant COLLATE "C" ~ '^[A-Za-z0-9._-]{1,64}$')
) WITH (
    -- Rows come and go; what counts is how many are dead, not what part of the few that live.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000
);
CREATE INDEX messages_pending ON mainstay_outbox.messages (next_attempt_time, id)
    WHERE fail_time IS NULL;
COMMENT ON TABLE mainstay_outbox.messages IS
    'On their way to Mainstay. A row goes when the service has accepted it.';
COMMENT ON COLUMN mainstay_outbox.messages.kind IS
    'event: all functions that it triggers get a job; job: the function called name gets one.';
COMMENT ON COLUMN mainstay_outbox.messages.idempotency_key IS
    'The caller''s, or a random one of the row''s own: sent twice, it is accepted once.';
COMMENT ON COLUMN mainstay_outbox.messages.tenant IS 'Null: that of the relay.';
COMMENT ON COLUMN mainstay_outbox.messages.last_error IS 'Why it was not accepted when last tried.';
COMMENT ON COLUMN mainstay_outbox.messages.fail_time IS
    'When it was moved aside, because trying again would not help; null while it is pending.';


-- Notifications of one transaction with one text are one.
CREATE FUNCTION mainstay_outbox.wake_relays() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_notify(TG_TABLE_SCHEMA, '');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION mainstay_outbox.wake_relays() IS 'Tells relays that a commit has brought work.';
CREATE TRIGGER wake_relays AFTER INSERT ON mainstay_outbox.messages
    FOR EACH STATEMENT EXECUTE FUNCTION mainstay_outbox.wake_relays();


-- SECURITY DEFINER, so that whoever may call it needs no right on the table; the search path is
-- fixed, so that no object of the caller's is mistaken for one of these.
CREATE FUNCTION mainstay_outbox.send_event(
    name text,
    data jsonb,
    idempotency_key text DEFAULT NULL,
    version integer DEFAULT 0,
    priority integer DEFAULT NULL,
    delay interval DEFAULT NULL,
    tenant text DEFAULT NULL,
    request_id text DEFAULT NULL,
    traceparent text DEFAULT NULL
) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO mainstay_outbox.messages (
        kind, name, version, data, idempotency_key, priority, delay,
        tenant, request_id, traceparent
    ) VALUES (
        'event', name, version, data,
        coalesce(nullif(idempotency_key, ''), 'outbox/' || gen_random_uuid()),
        priority, delay, nullif(tenant, ''),
        -- An id that cannot travel is no reason for a transaction to fail.
        CASE WHEN request_id COLLATE "C" ~ '^[!#-&(-~]{1,128}$' THEN request_id END,
        CASE WHEN traceparent ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
            THEN traceparent END
    )
    RETURNING id
$$;
COMMENT ON FUNCTION mainstay_outbox.send_event IS
    'Sends an event if and only if this transaction commits. Version 0 is the newest.';


CREATE FUNCTION mainstay_outbox.enqueue(
    function text,
    data jsonb,
    idempotency_key text DEFAULT NULL,
    priority integer DEFAULT NULL,
    delay interval DEFAULT NULL,
    tenant text DEFAULT NULL,
    request_id text DEFAULT NULL,
    traceparent text DEFAULT NULL
) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO mainstay_outbox.messages (
        kind, name, data, idempotency_key, priority, delay, tenant, request_id, traceparent
    ) VALUES (
        'job', function, data,
        coalesce(nullif(idempotency_key, ''), 'outbox/' || gen_random_uuid()),
        priority, delay, nullif(tenant, ''),
        CASE WHEN request_id COLLATE "C" ~ '^[!#-&(-~]{1,128}$' THEN request_id END,
        CASE WHEN traceparent ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
            THEN traceparent END
    )
    RETURNING id
$$;
COMMENT ON FUNCTION mainstay_outbox.enqueue IS
    'Starts a job of one function if and only if this transaction commits.';


-- New functions are everybody's until somebody says otherwise.
REVOKE ALL ON FUNCTION mainstay_outbox.wake_relays() FROM PUBLIC;
REVOKE ALL ON FUNCTION mainstay_outbox.send_event FROM PUBLIC;
REVOKE ALL ON FUNCTION mainstay_outbox.enqueue FROM PUBLIC;
