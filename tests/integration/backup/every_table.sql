-- Rows in every table of Mainstay, of two tenants where there are tenants, with text that a script
-- could trip over. Run as the tenant *.

INSERT INTO cache.cache_statistics (tenant, namespace, ttl_class, minute, hits, miss_cold)
VALUES
    ('acme', E'tab\there\\.', '', date_trunc('minute', now()), 5, 2),
    ('globex', E'line\nbreak', 'short', date_trunc('minute', now()), 1, 0);
INSERT INTO cache.statistics_batches (batch_id) VALUES (gen_random_uuid());

INSERT INTO identity.api_keys (
    key_id, digest, name, tenant, scopes, creator, expire_time, revoke_time, revoker
)
VALUES
    (
        'abcdefghijk1', '\x00ff0a5c00ff0a5c00ff0a5c00ff0a5c00ff0a5c00ff0a5c00ff0a5c00ff0a5c',
        E'b\\ill "ing"\u00fc', 'acme', ARRAY['cache:*', 'jobs:send'], 'somebody', NULL, NULL, NULL
    ),
    (
        'abcdefghijk2', sha256('two'), 'all', '*', ARRAY['*'], 'somebody', now() + interval '1 day',
        now(), 'somebody else'
    );
INSERT INTO identity.audit_log (act_id, time, principal, proof, tenant, service, act, code, reason)
VALUES
    (gen_random_uuid(), now(), 'k', 'api-key', 'acme', 'cache', 'x/Y', 'OK', ''),
    (gen_random_uuid(), now(), 'somebody', 'command', '*', '', 'keys.create', 'OK', 'msk_a');

INSERT INTO jobs.jobs (
    tenant, function, event_id, max_attempts, initial_backoff, max_backoff, request_id, traceparent,
    data, lineage, start_before
)
VALUES
    (
        'acme', 'f', gen_random_uuid(), 3, '1 s', '1 min', 'r', '',
        E'{"text": "\\\\. COPY x (y) FROM stdin;\\n\\u00fc"}', ARRAY['a', 'b"c'], '1 hour'
    ),
    ('globex', 'f', gen_random_uuid(), 3, '1 s', '1 min', 'r', '', '{}', '{}', NULL);
INSERT INTO jobs.history (
    job_id, tenant, function, event_id, event_name, left_state, state, revision, attempt,
    max_attempts, crash_count, priority, key, version, epoch, schedule, request_id, traceparent,
    create_time, end_time, steps
)
SELECT
    gen_random_uuid(), tenant, 'f', gen_random_uuid(), 'a/b', 'queued', 'cancelled', 1, 0, 3, 0, 0,
    '', '', 0, '', 'r', '', now(), ended, '[{"key": "one"}]'
FROM (VALUES ('acme'), ('globex')) AS tenants (tenant),
    -- One in a partition, one where none is.
    (VALUES (now()), (now() - interval '20 days')) AS ends (ended);
INSERT INTO jobs.events (event_id, tenant, name, version, request_id, traceparent)
VALUES (gen_random_uuid(), 'acme', 'a/b', 1, 'r', '');
INSERT INTO jobs.payloads (event_id, tenant, data) SELECT event_id, tenant, '{}' FROM jobs.events;
INSERT INTO jobs.event_keys (tenant, key, event_id, content_hash, job_ids)
VALUES ('acme', 'k', gen_random_uuid(), '\x00ff0a5c', ARRAY[gen_random_uuid()]);
INSERT INTO jobs.job_keys (tenant, function, key, job_id)
VALUES ('acme', 'f', 'k', gen_random_uuid());
INSERT INTO jobs.debounces (tenant, function, key, job_id)
VALUES ('acme', 'f', 'k', gen_random_uuid());
INSERT INTO jobs.dead_letters (job_id, tenant, function, failure_kind)
VALUES (gen_random_uuid(), 'acme', 'f', 'Broken');
INSERT INTO jobs.functions (tenant, name, trigger, max_attempts, initial_backoff, max_backoff)
VALUES ('acme', 'f', 'a/b', 3, '1 s', '1 min'), ('*', 'g', '', 3, '1 s', '1 min');
INSERT INTO jobs.queues (tenant, name, paused) VALUES ('acme', 'f', true);
INSERT INTO jobs.ready (job_id, function, tenant, key, version, rank, bytes)
VALUES (gen_random_uuid(), 'f', 'acme', '', '', 1, 2);
INSERT INTO jobs.delayed (job_id, function, tenant, priority, ready_time)
VALUES (gen_random_uuid(), 'f', 'acme', 0, now() + interval '1 day');
INSERT INTO jobs.sessions (session_id, tenant, worker, lease_expire_time, functions)
VALUES (gen_random_uuid(), 'acme', 'w', now(), ARRAY['f']);
INSERT INTO jobs.leases (job_id, tenant, epoch, session_id, steps_bytes)
VALUES (gen_random_uuid(), 'acme', 1, gen_random_uuid(), 0);
INSERT INTO jobs.steps (job_id, key, tenant, result, attempt)
SELECT job_id, 'one', tenant, '{"a": 1}', 1 FROM jobs.jobs;
INSERT INTO jobs.waits (job_id, key, tenant, kind, due_time, match, attempt)
VALUES (gen_random_uuid(), 'nap', 'acme', 'sleep', now() + interval '1 day', '{"a": 1}', 1);
INSERT INTO jobs.signals (job_id, tenant, name, data)
VALUES (gen_random_uuid(), 'acme', 'go', 'null'), (gen_random_uuid(), 'acme', 'go', '1');
INSERT INTO jobs.schedules (tenant, name, cron, time_zone, function, data, next_time)
VALUES ('acme', 's', '0 0 * * *', 'UTC', 'f', '{}', now() + interval '1 day');
INSERT INTO jobs.event_schemas (tenant, name, version, schema) VALUES ('*', 'a/b', 1, '{}');

INSERT INTO ratelimit.rate_limit_violations (
    tenant, subject, rule, endpoint, plan, reason, shadow, count, start_time, end_time, request_id,
    limit_text
)
VALUES
    ('acme', 'user:1', 'r', '/', '', 'limit', false, 1, now(), now(), '', '1/s'),
    ('globex', 'user:2', 'r', '/', '', 'limit', false, 1, now(), now(), '', '1/s');
INSERT INTO ratelimit.rate_limit_statistics (tenant, rule, plan, minute, allowed)
VALUES ('acme', 'r', '', date_trunc('minute', now()), 1);
INSERT INTO ratelimit.rate_limit_statistics_by_hour (tenant, rule, plan, hour, allowed)
VALUES ('acme', 'r', '', date_trunc('hour', now(), 'UTC'), 1);
INSERT INTO ratelimit.evidence_batches (batch_id) VALUES (gen_random_uuid());
INSERT INTO ratelimit.ai_api_usage (
    usage_id, tenant, subject, plan, provider, model, operation, input_tokens, output_tokens,
    cached_input_tokens, error, request_id, record_time
)
VALUES (gen_random_uuid(), 'acme', 'user:1', '', 'openai', 'm', '', 1, 1, 0, '', '', now());
INSERT INTO ratelimit.policy_versions (
    version, text, digest, source, creator, reason, request_id
)
VALUES (1, E'version: 1\n\\.\n', repeat('0', 64), 'call', 'somebody', '', '');
INSERT INTO ratelimit.overrides (
    tenant, subject, rule, limits, expire_time, reason, creator, request_id, revision
)
VALUES ('acme', 'user:1', 'r', '1/s', now() + interval '1 day', '', '', '', 1);
INSERT INTO ratelimit.plan_assignments (tenant, subject, plan, assigner, revision)
VALUES ('acme', 'user:1', 'pro', 'somebody', 1);
INSERT INTO ratelimit.audit_log (tenant, principal, request_id, action, target, reason, details)
VALUES ('acme', 'somebody', 'r', 'put_policy', '', '', '{"a": [1, null]}');
SELECT ratelimit.bump('overrides');

INSERT INTO telemetry.api_request_logs (
    time, service, instance, method, code, duration_ms, request_id, tenant, principal
)
SELECT at, 'cache', 'i', 'Get', 'OK', 1.25, gen_random_uuid()::text, tenant, 'somebody'
FROM (VALUES ('acme'), ('')) AS tenants (tenant),
    (VALUES (now()), (now() - interval '20 days')) AS times (at);
INSERT INTO telemetry.performance_metrics (
    minute, service, instance, kind, name, count, errors, total_ms, min_ms, max_ms,
    p50_ms, p95_ms, p99_ms
)
SELECT date_trunc('minute', at), 'cache', 'i', 'rpc', 'Get', 1, 0, 0.1, 1, 1, 1, 1, 'NaN'
FROM (VALUES (now()), (now() - interval '20 days')) AS times (at);

INSERT INTO health.system_health_logs (
    target, observer, minute, probes, failures, latency_sum_ms, latency_max_ms, healthy_seconds,
    degraded_seconds, unhealthy_seconds, unknown_seconds, maintenance_seconds, worst_state
)
SELECT 'cache', 'one', date_trunc('minute', at), 12, 0, 12, 1, 60, 0, 0, 0, 0, 'healthy'
FROM (VALUES (now()), (now() - interval '20 days')) AS times (at);
INSERT INTO health.system_health_hours (
    target, observer, hour, probes, failures, latency_sum_ms, latency_max_ms, healthy_seconds,
    degraded_seconds, unhealthy_seconds, unknown_seconds, maintenance_seconds
)
VALUES ('cache', 'one', date_trunc('hour', now(), 'UTC'), 12, 0, 12, 1, 60, 0, 0, 0, 0);
INSERT INTO health.batches (batch_id) VALUES (gen_random_uuid());
INSERT INTO health.incidents (
    incident_id, target, observer, worst_state, start_time, because, message, request_id
)
VALUES (gen_random_uuid(), 'cache', 'one', 'unhealthy', now(), ARRAY['redis'], 'no', 'r');
INSERT INTO health.maintenance (target, mode, start_time, end_time, reason)
VALUES ('cache', 'drain', now(), now() + interval '1 hour', 'because');
