-- What operators decided about rate limits, and who did it. All times are this database's clock.

CREATE SCHEMA IF NOT EXISTS ratelimit;
COMMENT ON SCHEMA ratelimit IS
    'Owned by the rate limit service: the policy, plans, overrides, and the evidence of denials.';


CREATE TABLE ratelimit.revisions (
    name text PRIMARY KEY,
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT revision_counts_from_one CHECK (revision >= 1)
);
COMMENT ON TABLE ratelimit.revisions IS
    'What replicas keep a copy of, and how often it was changed. Raised in the transaction of the '
    'change, so that whoever sees the number also sees the change. Holds nothing of tenants.';

CREATE FUNCTION ratelimit.bump(changed text) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    INSERT INTO ratelimit.revisions AS known (name) VALUES (changed)
    ON CONFLICT (name) DO UPDATE SET revision = known.revision + 1
    RETURNING revision;
END;
COMMENT ON FUNCTION ratelimit.bump IS
    'Raises a revision and returns it. Until the transaction ends no other can raise the same one: '
    'changes are committed in the order of their revisions.';


CREATE TABLE ratelimit.audit_log (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    principal text NOT NULL,
    request_id text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    reason text NOT NULL,
    details jsonb NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX audit_log_by_tenant ON ratelimit.audit_log (tenant, audit_id);
-- Rows come in the order of time and leave in it.
CREATE INDEX audit_log_by_time ON ratelimit.audit_log
    USING brin (create_time) WITH (pages_per_range = 32);
COMMENT ON TABLE ratelimit.audit_log IS
    'Who changed what: one row for each administrative act, never changed.';
COMMENT ON COLUMN ratelimit.audit_log.principal IS 'Who called, as the service knows it.';
COMMENT ON COLUMN ratelimit.audit_log.request_id IS 'Of the call.';
COMMENT ON COLUMN ratelimit.audit_log.action IS 'What was done, such as put_policy.';
COMMENT ON COLUMN ratelimit.audit_log.target IS 'What it was done to, such as a subject.';
COMMENT ON COLUMN ratelimit.audit_log.reason IS 'As the caller said; may be empty.';


CREATE TABLE ratelimit.policy_versions (
    version bigint PRIMARY KEY,
    text text NOT NULL,
    digest text NOT NULL,
    source text NOT NULL,
    creator text NOT NULL,
    reason text NOT NULL,
    request_id text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT version_counts_from_one CHECK (version >= 1),
    CONSTRAINT source_is_known CHECK (source IN ('file', 'call')),
    CONSTRAINT digest_is_sha256 CHECK (digest ~ '^[0-9a-f]{64}$'),
    CONSTRAINT text_is_bounded CHECK (octet_length(text) <= 1048576)
);
-- The file is compared with what it held last.
CREATE INDEX policy_versions_of_file ON ratelimit.policy_versions (version)
    WHERE source = 'file';
COMMENT ON TABLE ratelimit.policy_versions IS
    'The policy of all tenants, version by version; the newest is in force. Never changed: going '
    'back to a version puts its text again.';
COMMENT ON COLUMN ratelimit.policy_versions.text IS 'YAML, at most 1 MiB.';
COMMENT ON COLUMN ratelimit.policy_versions.digest IS 'SHA-256 of the text, in hexadecimal.';
COMMENT ON COLUMN ratelimit.policy_versions.source IS
    'Whether it was read from the file that operators edit, or put by a call.';
COMMENT ON COLUMN ratelimit.policy_versions.request_id IS
    'Of the call, so that one whose commit was not acknowledged is not carried out twice; empty for '
    'the file.';


CREATE TABLE ratelimit.overrides (
    tenant text NOT NULL,
    subject text NOT NULL,
    rule text NOT NULL,
    limits text NOT NULL,
    expire_time timestamptz NOT NULL,
    reason text NOT NULL,
    creator text NOT NULL,
    request_id text NOT NULL,
    revision bigint NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, subject, rule),
    CONSTRAINT subject_is_bounded CHECK (octet_length(subject) BETWEEN 1 AND 256)
);
-- Replicas read what has changed since they read last.
CREATE INDEX overrides_by_revision ON ratelimit.overrides (revision);
-- What ended long ago is deleted.
CREATE INDEX overrides_by_end ON ratelimit.overrides (expire_time);
COMMENT ON TABLE ratelimit.overrides IS
    'Limits of one subject''s own, until a moment. One that is ended early only gets that moment '
    'as its end: replicas learn of it as of any other change.';
COMMENT ON COLUMN ratelimit.overrides.limits IS 'As the policy writes them, such as 50/min.';
COMMENT ON COLUMN ratelimit.overrides.revision IS
    'Of `overrides` in ratelimit.revisions when it was changed last; its etag for callers.';
COMMENT ON COLUMN ratelimit.overrides.request_id IS 'Of the call that changed it last.';


CREATE FUNCTION ratelimit.delete_old_decisions(
    keep_audits interval, keep_overrides interval, max_rows integer
) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH audits AS (
        DELETE FROM ratelimit.audit_log
        WHERE audit_id = ANY (ARRAY(
            SELECT audit_id FROM ratelimit.audit_log
            WHERE create_time < now() - keep_audits
            LIMIT max_rows
        ))
        RETURNING 1
    ),
    ended AS (
        DELETE FROM ratelimit.overrides
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM ratelimit.overrides
            WHERE expire_time < now() - keep_overrides
            LIMIT max_rows
        ))
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM audits) + (SELECT count(*) FROM ended);
END;
COMMENT ON FUNCTION ratelimit.delete_old_decisions IS
    'Deletes at most so many audits that are older, and as many overrides that ended so long ago; '
    'returns how many it was, so that a caller goes on until it is none. Run as the tenant * it '
    'sees all tenants.';


-- A transaction names its tenant (or *, for the service's own work) and sees no other's rows.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_log', 'overrides'] LOOP
        EXECUTE format('ALTER TABLE ratelimit.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE ratelimit.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON ratelimit.%I USING ('
            'tenant = current_setting(''mainstay.tenant'', true) '
            'OR current_setting(''mainstay.tenant'', true) = ''*'')',
            name
        );
    END LOOP;
END $$;
