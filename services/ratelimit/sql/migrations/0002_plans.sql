-- Who is on which plan. All times are this database's clock.

CREATE TABLE ratelimit.plan_assignments (
    tenant text NOT NULL,
    subject text NOT NULL,
    plan text NOT NULL,
    assign_time timestamptz NOT NULL DEFAULT now(),
    assigner text NOT NULL,
    reason text NOT NULL DEFAULT '',
    job_id uuid,
    revision bigint NOT NULL,
    PRIMARY KEY (tenant, subject),
    CONSTRAINT subject_has_1_to_256_bytes CHECK (octet_length(subject) BETWEEN 1 AND 256)
);
-- Replicas read what they have not seen yet.
CREATE INDEX plan_assignments_by_revision ON ratelimit.plan_assignments (revision);
COMMENT ON TABLE ratelimit.plan_assignments IS
    'The plan of each subject that was ever given one, as it is now; ratelimit.audit_log holds how '
    'it came to be.';
COMMENT ON COLUMN ratelimit.plan_assignments.plan IS 'Empty after an assignment has ended.';
COMMENT ON COLUMN ratelimit.plan_assignments.assign_time IS 'Since when the plan is this one.';
COMMENT ON COLUMN ratelimit.plan_assignments.assigner IS 'The principal of the call, or the event.';
COMMENT ON COLUMN ratelimit.plan_assignments.job_id IS
    'The newest job of an event that had a say, a UUIDv7; NULL if none had. A job that was created '
    'before it, and comes late because it was tried again, changes nothing.';
COMMENT ON COLUMN ratelimit.plan_assignments.revision IS
    'Of `plans` in ratelimit.revisions when the plan was changed last.';


-- A transaction names its tenant (or *, for what all replicas must learn) and sees no other's rows.
ALTER TABLE ratelimit.plan_assignments ENABLE ROW LEVEL SECURITY;
ALTER TABLE ratelimit.plan_assignments FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ratelimit.plan_assignments USING (
    tenant = current_setting('mainstay.tenant', true)
    OR current_setting('mainstay.tenant', true) = '*'
);
