-- What every column means; update_time kept by the database; cleanups for people.

-- Waits for no writer and stops none: a comment's lock is one that only changes of a table want.
COMMENT ON COLUMN ratelimit.revisions.name IS 'What is copied: overrides, plans or the like.';
COMMENT ON COLUMN ratelimit.revisions.revision IS 'How often it was changed, and one.';

COMMENT ON COLUMN ratelimit.audit_log.audit_id IS 'In the order of the acts.';
COMMENT ON COLUMN ratelimit.audit_log.tenant IS 'Who called.';
COMMENT ON COLUMN ratelimit.audit_log.details IS
    'What is particular to the action, such as the limits of an override.';
COMMENT ON COLUMN ratelimit.audit_log.create_time IS 'When it was done.';

COMMENT ON COLUMN ratelimit.policy_versions.version IS 'Counts from 1; the highest is in force.';
COMMENT ON COLUMN ratelimit.policy_versions.creator IS 'The principal of the call, or the file.';
COMMENT ON COLUMN ratelimit.policy_versions.reason IS 'As the caller said; may be empty.';
COMMENT ON COLUMN ratelimit.policy_versions.create_time IS 'Since when it was the newest.';

COMMENT ON COLUMN ratelimit.overrides.tenant IS 'Whose subject it is.';
COMMENT ON COLUMN ratelimit.overrides.subject IS 'For whom, such as user:42; 1 to 256 bytes.';
COMMENT ON COLUMN ratelimit.overrides.rule IS 'The rule of the policy whose limits it replaces.';
COMMENT ON COLUMN ratelimit.overrides.expire_time IS 'Until when it holds.';
COMMENT ON COLUMN ratelimit.overrides.reason IS 'As the caller said.';
COMMENT ON COLUMN ratelimit.overrides.creator IS 'The principal of the call that put it.';
COMMENT ON COLUMN ratelimit.overrides.create_time IS 'When it was put last.';

COMMENT ON COLUMN ratelimit.plan_assignments.tenant IS 'Whose subject it is.';
COMMENT ON COLUMN ratelimit.plan_assignments.subject IS 'Who, such as user:42; 1 to 256 bytes.';
COMMENT ON COLUMN ratelimit.plan_assignments.reason IS 'As the caller said; may be empty.';

COMMENT ON COLUMN ratelimit.rate_limit_violations.violation_id IS
    'Orders those that began at the same moment.';
COMMENT ON COLUMN ratelimit.rate_limit_violations.tenant IS 'Whose subject was denied.';
COMMENT ON COLUMN ratelimit.rate_limit_violations.subject IS 'Who was denied, such as user:42.';
COMMENT ON COLUMN ratelimit.rate_limit_violations.rule IS 'The rule of the policy that denied.';
COMMENT ON COLUMN ratelimit.rate_limit_violations.endpoint IS 'What was asked for.';
COMMENT ON COLUMN ratelimit.rate_limit_violations.create_time IS
    'When it was written, by this database''s clock.';

COMMENT ON COLUMN ratelimit.rate_limit_statistics.minute IS
    'When the minute began, by the clock of the Redis behind the limits.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics_by_hour.tenant IS
    '(other) for those that came when a replica had too many to count each.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics_by_hour.rule IS
    'Empty in a row that only tells what was dropped.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics_by_hour.plan IS 'Empty for none.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics_by_hour.hour IS
    'When the hour of UTC began, by the clock of the Redis behind the limits.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics_by_hour.allowed IS 'Checks that were allowed.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics_by_hour.denied IS 'Checks that were denied.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics_by_hour.shadow_denied IS
    'Checks that a rule in shadow would have denied; they count as allowed too.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics_by_hour.degraded IS
    'Checks that were decided without the counters.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics_by_hour.dropped IS
    'Denials and checks of which something was not recorded.';
COMMENT ON COLUMN ratelimit.rate_limit_statistics_by_hour.update_time IS
    'When a replica added to it last.';
COMMENT ON COLUMN ratelimit.evidence_batches.batch_id IS 'Made by the replica that counted.';
COMMENT ON COLUMN ratelimit.evidence_batches.create_time IS 'When it was added.';

COMMENT ON COLUMN ratelimit.ai_api_usage.tenant IS 'Who pays for it.';
COMMENT ON COLUMN ratelimit.ai_api_usage.subject IS 'For whom it was, such as user:42.';
COMMENT ON COLUMN ratelimit.ai_api_usage.provider IS 'Who was called, such as openai.';
COMMENT ON COLUMN ratelimit.ai_api_usage.model IS 'As the provider names it, such as gpt-4o.';
COMMENT ON COLUMN ratelimit.ai_api_usage.output_tokens IS 'Of the answer.';
COMMENT ON COLUMN ratelimit.ai_api_usage.record_time IS
    'When it was told, by the clock of the Redis behind the limits.';
COMMENT ON COLUMN ratelimit.ai_api_usage.create_time IS
    'When it was written, by this database''s clock.';


CREATE FUNCTION ratelimit.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.update_time := now();
    RETURN NEW;
END $$;
COMMENT ON FUNCTION ratelimit.touch() IS 'Notes when a row was changed, whoever changes it.';
CREATE TRIGGER touch BEFORE UPDATE ON ratelimit.rate_limit_statistics
    FOR EACH ROW EXECUTE FUNCTION ratelimit.touch();
CREATE TRIGGER touch BEFORE UPDATE ON ratelimit.rate_limit_statistics_by_hour
    FOR EACH ROW EXECUTE FUNCTION ratelimit.touch();


CREATE FUNCTION ratelimit.cleanup_rate_limit_violations(days integer DEFAULT 90) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    before text := coalesce(current_setting('mainstay.tenant', true), '');
    deleted integer;
BEGIN
    IF days < 1 THEN
        RAISE EXCEPTION 'days is %; keep at least 1', days USING ERRCODE = 'check_violation';
    END IF;
    PERFORM set_config('mainstay.tenant', '*', true);
    DELETE FROM ratelimit.rate_limit_violations
    WHERE start_time < now() - make_interval(days => days);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    PERFORM set_config('mainstay.tenant', before, true);
    RETURN deleted;
END $$;
COMMENT ON FUNCTION ratelimit.cleanup_rate_limit_violations(integer) IS
    'Deletes all rows older than so many days at once, of all tenants; returns how many. For '
    'people: the service deletes a few at a time, by delete_old_evidence.';

CREATE FUNCTION ratelimit.cleanup_ai_api_usage(days integer DEFAULT 90) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    before text := coalesce(current_setting('mainstay.tenant', true), '');
    deleted integer;
BEGIN
    IF days < 1 THEN
        RAISE EXCEPTION 'days is %; keep at least 1', days USING ERRCODE = 'check_violation';
    END IF;
    PERFORM set_config('mainstay.tenant', '*', true);
    DELETE FROM ratelimit.ai_api_usage WHERE record_time < now() - make_interval(days => days);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    PERFORM set_config('mainstay.tenant', before, true);
    RETURN deleted;
END $$;
COMMENT ON FUNCTION ratelimit.cleanup_ai_api_usage(integer) IS
    'Deletes all rows older than so many days at once, of all tenants; returns how many. For '
    'people: the service deletes a few at a time, by delete_old_ai_usage.';
-- They see all tenants.
REVOKE EXECUTE ON FUNCTION
    ratelimit.cleanup_rate_limit_violations(integer), ratelimit.cleanup_ai_api_usage(integer)
    FROM PUBLIC;
