-- The policy's versions, overrides, revisions and the audit. Times are microseconds since 1970 where
-- they cross to the service.

-- name: bump
-- Raises the revision $1 and returns it.
SELECT ratelimit.bump($1)

-- name: read_revisions
-- Returns every revision.
SELECT name, revision FROM ratelimit.revisions

-- name: write_audit
-- Writes down one act: tenant, principal, request id, action, target, reason, details.
INSERT INTO ratelimit.audit_log (
    tenant, principal, request_id, action, target, reason, details
) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: count_overrides_by_rule
-- Returns each rule that overrides in force are on, and how many.
SELECT rule, count(*) FROM ratelimit.overrides WHERE expire_time > now() GROUP BY rule

-- name: count_assignments_by_plan
-- Returns each plan that subjects are on, and how many.
SELECT plan, count(*) FROM ratelimit.plan_assignments WHERE plan <> '' GROUP BY plan

-- name: lock_versions
-- Lets one transaction at a time put a version; who reads waits for nobody.
LOCK TABLE ratelimit.policy_versions IN SHARE ROW EXCLUSIVE MODE

-- name: newest_version
-- Returns the newest version with its text.
SELECT
    version, creator, reason, digest, text, request_id,
    (extract(epoch FROM create_time) * 1000000)::bigint AS created_at
FROM ratelimit.policy_versions
ORDER BY version DESC
LIMIT 1

-- name: find_version
-- Returns the version $1 with its text.
SELECT
    version, creator, reason, digest, text,
    (extract(epoch FROM create_time) * 1000000)::bigint AS created_at
FROM ratelimit.policy_versions
WHERE version = $1

-- name: list_versions
-- Returns up to $2 versions below $1, the newest first.
SELECT
    version, creator, reason, digest,
    (extract(epoch FROM create_time) * 1000000)::bigint AS created_at
FROM ratelimit.policy_versions
WHERE version < $1
ORDER BY version DESC
LIMIT $2

-- name: newest_digest_of_file
-- Returns the digest of what the file said last.
SELECT digest FROM ratelimit.policy_versions
WHERE source = 'file'
ORDER BY version DESC
LIMIT 1

-- name: add_version
-- Adds the version after the newest one: text, digest, source, creator, reason, request id. Only for
-- who holds the lock.
INSERT INTO ratelimit.policy_versions (
    version, text, digest, source, creator, reason, request_id
)
SELECT coalesce(max(version), 0) + 1, $1, $2, $3, $4, $5, $6 FROM ratelimit.policy_versions
RETURNING
    version, creator, reason, digest,
    (extract(epoch FROM create_time) * 1000000)::bigint AS created_at

-- name: find_override
-- Returns the override of tenant $1, subject $2 and rule $3 that has not ended.
SELECT
    tenant, subject, rule, limits, reason, creator, request_id, revision,
    (extract(epoch FROM expire_time) * 1000000)::bigint AS expires_at,
    (extract(epoch FROM create_time) * 1000000)::bigint AS created_at
FROM ratelimit.overrides
WHERE tenant = $1 AND subject = $2 AND rule = $3 AND expire_time > now()

-- name: count_overrides
-- Returns how many overrides the tenant $1 has, up to $2.
SELECT count(*) FROM (
    SELECT 1 FROM ratelimit.overrides WHERE tenant = $1 AND expire_time > now() LIMIT $2
) AS counted

-- name: put_override
-- Puts an override: tenant, subject, rule, limits, end, reason, creator, request id, revision.
INSERT INTO ratelimit.overrides (
    tenant, subject, rule, limits, expire_time, reason, creator, request_id, revision
) VALUES (
    $1, $2, $3, $4, timestamptz 'epoch' + $5::bigint * interval '1 microsecond', $6, $7, $8, $9
)
ON CONFLICT (tenant, subject, rule) DO UPDATE SET
    limits = excluded.limits,
    expire_time = excluded.expire_time,
    reason = excluded.reason,
    creator = excluded.creator,
    request_id = excluded.request_id,
    revision = excluded.revision,
    create_time = now()
RETURNING
    tenant, subject, rule, limits, reason, creator, request_id, revision,
    (extract(epoch FROM expire_time) * 1000000)::bigint AS expires_at,
    (extract(epoch FROM create_time) * 1000000)::bigint AS created_at

-- name: end_override
-- Ends the override of tenant $1, subject $2 and rule $3 now, at revision $4 by request $5; returns
-- its limits, or nothing when there is none.
UPDATE ratelimit.overrides SET expire_time = now(), revision = $4, request_id = $5
WHERE tenant = $1 AND subject = $2 AND rule = $3 AND expire_time > now()
RETURNING limits

-- name: ended_by
-- Tells whether the override of tenant $1, subject $2 and rule $3 was ended by the request $4.
SELECT EXISTS (
    SELECT 1 FROM ratelimit.overrides
    WHERE tenant = $1 AND subject = $2 AND rule = $3 AND request_id = $4 AND expire_time <= now()
)

-- name: list_overrides
-- Returns up to $6 overrides of tenant $1 after the subject $4 and rule $5, of subject $2 and rule $3
-- where these are given.
SELECT
    tenant, subject, rule, limits, reason, creator, request_id, revision,
    (extract(epoch FROM expire_time) * 1000000)::bigint AS expires_at,
    (extract(epoch FROM create_time) * 1000000)::bigint AS created_at
FROM ratelimit.overrides
WHERE tenant = $1
    AND ($2 = '' OR subject = $2)
    AND ($3 = '' OR rule = $3)
    AND (subject, rule) > ($4, $5)
    AND expire_time > now()
ORDER BY subject, rule
LIMIT $6

-- name: read_overrides
-- Returns up to $2 overrides of all tenants above the revision $1, in that order; those that have
-- ended too.
SELECT
    tenant, subject, rule, limits, reason, creator, request_id, revision,
    (extract(epoch FROM expire_time) * 1000000)::bigint AS expires_at,
    (extract(epoch FROM create_time) * 1000000)::bigint AS created_at
FROM ratelimit.overrides
WHERE revision > $1
ORDER BY revision
LIMIT $2

-- name: overrides_revision
-- Returns the revision of the overrides; nothing before the first.
SELECT revision FROM ratelimit.revisions WHERE name = 'overrides'

-- name: delete_old_decisions
-- Deletes up to $3 audits older than $1 and as many overrides that ended longer than $2 ago; returns
-- how many it was.
SELECT ratelimit.delete_old_decisions($1::interval, $2::interval, $3::integer)
