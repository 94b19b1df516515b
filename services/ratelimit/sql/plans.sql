-- Who is on which plan. Times are microseconds since 1970.

-- name: find_assignment
-- Returns the assignment of a subject.
SELECT
    subject, plan, assigner, job_id,
    (extract(epoch FROM assign_time) * 1000000)::bigint AS assigned_at
FROM ratelimit.plan_assignments
WHERE tenant = $1 AND subject = $2

-- name: lock_assignment
-- Returns the assignment of a subject and keeps it as it is until the end of the transaction.
SELECT
    subject, plan, assigner, job_id,
    (extract(epoch FROM assign_time) * 1000000)::bigint AS assigned_at
FROM ratelimit.plan_assignments
WHERE tenant = $1 AND subject = $2
FOR UPDATE

-- name: put_assignment
-- Puts a subject on a plan and returns the assignment; nothing when a newer job has had its say.
INSERT INTO ratelimit.plan_assignments AS known (
    tenant, subject, plan, assigner, reason, job_id, revision
)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant, subject) DO UPDATE SET
    plan = excluded.plan,
    assigner = excluded.assigner,
    reason = excluded.reason,
    -- A call says nothing about the order of events; greatest() passes over what is NULL.
    job_id = greatest(known.job_id, excluded.job_id),
    assign_time = now(),
    revision = excluded.revision
WHERE excluded.job_id IS NULL OR known.job_id IS NULL OR known.job_id < excluded.job_id
RETURNING
    subject, plan, assigner, job_id,
    (extract(epoch FROM assign_time) * 1000000)::bigint AS assigned_at

-- name: note_job
-- Notes that a newer job wanted what holds already.
UPDATE ratelimit.plan_assignments SET job_id = greatest(job_id, $3)
WHERE tenant = $1 AND subject = $2

-- name: find_assigned_tenants
-- Returns every tenant that has assignments, by one look into the index for each.
WITH RECURSIVE tenants AS (
    (SELECT tenant FROM ratelimit.plan_assignments ORDER BY tenant LIMIT 1)
    UNION ALL
    SELECT (
        SELECT next.tenant FROM ratelimit.plan_assignments AS next
        WHERE next.tenant > tenants.tenant
        ORDER BY next.tenant LIMIT 1
    )
    FROM tenants
    WHERE tenants.tenant IS NOT NULL
)
SELECT tenant FROM tenants WHERE tenant IS NOT NULL

-- name: find_recent_revision
-- Returns the first revision after one ($1) that came in the last seconds ($2), or NULL.
SELECT min(revision)
FROM ratelimit.plan_assignments
WHERE revision > $1 AND assign_time > now() - make_interval(secs => $2)

-- name: find_last_revision
-- Returns the revision of the last change.
SELECT coalesce(max(revision), 0) FROM ratelimit.plan_assignments

-- name: find_plan_changes
-- Returns the next changes after a revision, at most so many, in their order.
SELECT tenant, subject, plan, revision
FROM ratelimit.plan_assignments
WHERE revision > $1
ORDER BY revision
LIMIT $2
