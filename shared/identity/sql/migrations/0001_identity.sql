-- Who may call: API keys, of which only digests are here, and what administrators did. Times are
-- the database's, those of the audit log the service's that wrote the row, in UTC.

CREATE SCHEMA IF NOT EXISTS identity;
COMMENT ON SCHEMA identity IS
    'API keys and the audit log. Keys are made and revoked by `mainstay keys`, read by every '
    'service.';


CREATE TABLE identity.api_keys (
    key_id text PRIMARY KEY,
    digest bytea NOT NULL,
    name text NOT NULL,
    tenant text NOT NULL,
    scopes text[] NOT NULL,
    creator text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    expire_time timestamptz,
    last_use_time timestamptz,
    revoke_time timestamptz,
    revoker text,
    CONSTRAINT key_id_has_12_characters CHECK (key_id ~ '^[0-9A-Za-z]{12}$'),
    CONSTRAINT digest_is_sha256 CHECK (octet_length(digest) = 32),
    CONSTRAINT name_is_readable CHECK (name ~ '^[^[:cntrl:]]{1,100}$'),
    CONSTRAINT tenant_is_one_or_all CHECK (tenant ~ '^([A-Za-z0-9][A-Za-z0-9._-]{0,63}|\*)$'),
    CONSTRAINT may_do_something CHECK (cardinality(scopes) BETWEEN 1 AND 50),
    CONSTRAINT expires_after_it_was_made CHECK (expire_time > create_time),
    CONSTRAINT is_revoked_by_somebody CHECK ((revoke_time IS NULL) = (revoker IS NULL))
);
-- What every process reads when a key was made or revoked; revoked ones only grow in number.
CREATE INDEX api_keys_not_revoked ON identity.api_keys (create_time) WHERE revoke_time IS NULL;
COMMENT ON TABLE identity.api_keys IS
    'API keys, revoked and expired ones too. A key itself is nowhere: who has this table cannot '
    'call.';
COMMENT ON COLUMN identity.api_keys.key_id IS
    'The part of a key that is no secret: msk_<key_id>_<secret>. The name of its principal.';
COMMENT ON COLUMN identity.api_keys.digest IS
    'SHA-256 of the secret: 190 random bits, which nobody guesses however fast the hash is.';
COMMENT ON COLUMN identity.api_keys.name IS 'What people call it, such as who has it.';
COMMENT ON COLUMN identity.api_keys.tenant IS 'The one whose data it may touch, or * for any.';
COMMENT ON COLUMN identity.api_keys.scopes IS
    'What it may do, as granted: a wildcard such as cache:* includes what is added to it later.';
COMMENT ON COLUMN identity.api_keys.creator IS 'Who made it.';
COMMENT ON COLUMN identity.api_keys.create_time IS 'When it was made.';
COMMENT ON COLUMN identity.api_keys.expire_time IS 'From when it is good no more; null for never.';
COMMENT ON COLUMN identity.api_keys.last_use_time IS
    'When it was used last, to the minute or so; null for never.';
COMMENT ON COLUMN identity.api_keys.revoke_time IS 'When it was revoked; null while it is good.';
COMMENT ON COLUMN identity.api_keys.revoker IS 'Who revoked it.';


CREATE TABLE identity.key_revision (
    singleton boolean PRIMARY KEY DEFAULT true,
    revision uuid NOT NULL DEFAULT gen_random_uuid(),
    CONSTRAINT there_is_one CHECK (singleton)
);
INSERT INTO identity.key_revision DEFAULT VALUES;
COMMENT ON TABLE identity.key_revision IS
    'One row, which every process reads every two seconds to learn whether it has to read the keys. '
    'Holds nothing of tenants.';
COMMENT ON COLUMN identity.key_revision.singleton IS 'True.';
COMMENT ON COLUMN identity.key_revision.revision IS
    'Another one after every change of a key but its use. Random, so that a restored database does '
    'not come to the number of another past.';

-- Whoever changes a key, by hand too, with no right to this row.
CREATE FUNCTION identity.change_key_revision() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE identity.key_revision SET revision = gen_random_uuid();
    RETURN NULL;
END $$;
COMMENT ON FUNCTION identity.change_key_revision() IS 'Has every process read the keys again.';
CREATE TRIGGER revise
    AFTER INSERT OR DELETE OR TRUNCATE
        OR UPDATE OF key_id, digest, name, tenant, scopes, expire_time, revoke_time
    ON identity.api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION identity.change_key_revision();


CREATE TABLE identity.audit_log (
    act_id uuid PRIMARY KEY,
    time timestamptz NOT NULL,
    principal text NOT NULL,
    proof text NOT NULL,
    tenant text NOT NULL,
    service text NOT NULL DEFAULT '',
    act text NOT NULL,
    request_id text NOT NULL DEFAULT '',
    code text NOT NULL,
    reason text NOT NULL DEFAULT '',
    CONSTRAINT proof_is_known CHECK (
        proof IN ('off', 'api-key', 'jwt', 'mtls', 'service', 'command')
    )
);
CREATE INDEX audit_log_by_tenant ON identity.audit_log (tenant, time);
CREATE INDEX audit_log_by_time ON identity.audit_log
    USING brin (time) WITH (pages_per_range = 32);
COMMENT ON TABLE identity.audit_log IS
    'A row for every administrative act, refused ones too, for 400 days. Rows that came while '
    'PostgreSQL was away for long may be missing: mainstay_telemetry_rows_dropped_total counts '
    'them, and the log has a line admin_act for each.';
COMMENT ON COLUMN identity.audit_log.act_id IS
    'Made by who wrote it: a batch whose commit was not acknowledged is written again.';
COMMENT ON COLUMN identity.audit_log.time IS 'When it was over.';
COMMENT ON COLUMN identity.audit_log.principal IS
    'Who did it: the id of an API key, the subject of a token, the name of a certificate, or for a '
    'command the account that gave it.';
COMMENT ON COLUMN identity.audit_log.proof IS
    'How that was proved: api-key, jwt, mtls, service; off where callers do not authenticate; '
    'command for one on the database itself.';
COMMENT ON COLUMN identity.audit_log.tenant IS
    'In which tenant; * for all, empty where it was refused before that was known. Only * sees '
    'those.';
COMMENT ON COLUMN identity.audit_log.service IS 'Which one was called; empty for commands.';
COMMENT ON COLUMN identity.audit_log.act IS
    'The method, or the command: keys.create, keys.revoke.';
COMMENT ON COLUMN identity.audit_log.request_id IS 'Of the call; empty for commands.';
COMMENT ON COLUMN identity.audit_log.code IS 'How it ended: a status code of gRPC, by name.';
COMMENT ON COLUMN identity.audit_log.reason IS
    'Of the error; of a command what it was about. Empty where there is nothing to say.';


-- Without an argument: whoever takes over a service may call it, and must not choose what is left.
CREATE FUNCTION identity.cleanup_audit_log() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before text := coalesce(current_setting('mainstay.tenant', true), '');
    deleted integer;
BEGIN
    PERFORM set_config('mainstay.tenant', '*', true);
    DELETE FROM identity.audit_log WHERE time < now() - interval '400 days';
    GET DIAGNOSTICS deleted = ROW_COUNT;
    PERFORM set_config('mainstay.tenant', before, true);
    RETURN deleted;
END $$;
COMMENT ON FUNCTION identity.cleanup_audit_log() IS
    'Deletes what is older than 400 days, of all tenants; returns how many rows it was.';

-- They act with the rights of their owner: who may read keys must not change them.
REVOKE EXECUTE ON FUNCTION
    identity.change_key_revision(), identity.cleanup_audit_log()
    FROM PUBLIC;

-- A transaction names its tenant (or *, for the services' own work) and sees no other's rows.
ALTER TABLE identity.api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON identity.api_keys USING (
    tenant = nullif(current_setting('mainstay.tenant', true), '')
    OR current_setting('mainstay.tenant', true) = '*'
);
ALTER TABLE identity.audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.audit_log FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON identity.audit_log USING (
    tenant = nullif(current_setting('mainstay.tenant', true), '')
    OR current_setting('mainstay.tenant', true) = '*'
);
