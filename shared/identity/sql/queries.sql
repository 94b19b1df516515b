-- API keys: what services read of them, and what `mainstay keys` does. Times are in seconds since
-- 1970 by the database's clock where they are float8.

-- name: read_revision
-- Returns the revision of the keys, and the time.
SELECT revision, extract(epoch FROM clock_timestamp())::float8 AS now
FROM identity.key_revision

-- name: load_keys
-- Returns the keys that count, at most so many ($1), the oldest first: those that are not revoked,
-- with those that expired within the last week, of which callers are told that they did.
SELECT key_id, digest, tenant, scopes, extract(epoch FROM expire_time)::float8 AS expires
FROM identity.api_keys
WHERE revoke_time IS NULL
    AND (expire_time IS NULL OR expire_time > now() - interval '7 days')
ORDER BY create_time, key_id
LIMIT $1

-- name: note_uses
-- Notes when keys ($1) were used last ($2, in seconds). A key that another process is writing this
-- moment is left to it, and so is one whose note is as good.
WITH free AS (
    SELECT key_id FROM identity.api_keys
    WHERE key_id = ANY ($1::text[])
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE identity.api_keys AS k
SET last_use_time = to_timestamp(used.at)
FROM unnest($1::text[], $2::float8[]) AS used (key_id, at)
JOIN free USING (key_id)
WHERE k.key_id = used.key_id
    AND (k.last_use_time IS NULL OR k.last_use_time < to_timestamp(used.at - 30))

-- name: count_keys
-- Returns how many keys there are that every process has to hold.
SELECT count(*) FROM identity.api_keys
WHERE revoke_time IS NULL AND (expire_time IS NULL OR expire_time > now() - interval '7 days')

-- name: insert_key
-- Adds a key that is good for a time ($7, an interval; null for ever) from now.
INSERT INTO identity.api_keys (key_id, digest, name, tenant, scopes, creator, expire_time)
VALUES ($1, $2, $3, $4, $5, $6, now() + $7::interval)
RETURNING key_id, name, tenant, scopes, creator, create_time, expire_time, last_use_time,
    revoke_time, revoker

-- name: list_keys
-- Returns all keys, revoked ones too, the newest first; at most so many ($1).
SELECT key_id, name, tenant, scopes, creator, create_time, expire_time, last_use_time, revoke_time,
    revoker
FROM identity.api_keys
ORDER BY create_time DESC, key_id
LIMIT $1

-- name: revoke_key
-- Revokes a key in the name of somebody ($2); one that was revoked before stays as it is. Returns
-- it, or nothing if there is none, with `again` for one that was revoked before.
WITH found AS (
    SELECT key_id, revoke_time IS NOT NULL AS again
    FROM identity.api_keys WHERE key_id = $1
    FOR UPDATE
)
UPDATE identity.api_keys AS k
SET revoke_time = coalesce(k.revoke_time, now()), revoker = coalesce(k.revoker, $2)
FROM found
WHERE k.key_id = found.key_id
RETURNING k.key_id, k.name, k.tenant, k.scopes, k.creator, k.create_time, k.expire_time,
    k.last_use_time, k.revoke_time, k.revoker, found.again

-- name: insert_act
-- Adds an act of a command to the audit log.
INSERT INTO identity.audit_log (act_id, time, principal, proof, tenant, act, code, reason)
VALUES (gen_random_uuid(), now(), $1, 'command', $2, $3, 'OK', $4)
