-- A row of each of the seven tables, $1 old; and many of some.

-- name: jobs_jobs
-- One that waits.
INSERT INTO jobs.jobs (
    tenant, function, event_id, max_attempts, initial_backoff, max_backoff, request_id, traceparent
)
VALUES ('acme', 'f', gen_random_uuid(), 3, '1 s', '1 s', 'r', '')

-- name: jobs_history
-- One that was cancelled.
INSERT INTO jobs.history (
    job_id, tenant, function, event_id, event_name, left_state, state, revision, attempt,
    max_attempts, crash_count, priority, key, version, epoch, schedule, request_id, traceparent,
    create_time, end_time
)
VALUES (
    gen_random_uuid(), 'acme', 'f', gen_random_uuid(), '', 'queued', 'cancelled', 1, 0, 3, 0, 0,
    '', '', 0, '', 'r', '', now() - $1::interval, now() - $1::interval
)

-- name: telemetry_performance_metrics
-- A minute of a method.
INSERT INTO telemetry.performance_metrics (
    minute, service, instance, kind, name, count, errors, total_ms, min_ms, max_ms,
    p50_ms, p95_ms, p99_ms
)
VALUES (
    date_trunc('minute', now() - $1::interval), 'cache', 'i', 'rpc', 'Get', 1, 0, 1, 1, 1, 1, 1, 1
)

-- name: health_system_health_logs
-- A minute of a target.
INSERT INTO health.system_health_logs (
    target, observer, minute, probes, failures, latency_sum_ms, latency_max_ms, healthy_seconds,
    degraded_seconds, unhealthy_seconds, unknown_seconds, maintenance_seconds, worst_state
)
VALUES (
    'cache', 'one', date_trunc('minute', now() - $1::interval), 12, 0, 12, 1, 60, 0, 0, 0, 0,
    'healthy'
)

-- name: cache_cache_statistics
-- A minute of a namespace.
INSERT INTO cache.cache_statistics (tenant, namespace, ttl_class, minute, hits)
VALUES ('acme', 'video', '', date_trunc('minute', now() - $1::interval), 1)

-- name: telemetry_api_request_logs
-- A call.
INSERT INTO telemetry.api_request_logs (
    time, service, instance, method, code, duration_ms, request_id, tenant, principal
)
VALUES (
    now() - $1::interval, 'cache', 'i', 'mainstay.cache.v1.CacheService/Get', 'OK', 1,
    gen_random_uuid()::text, 'acme', 'somebody'
)

-- name: ratelimit_rate_limit_violations
-- A denial.
INSERT INTO ratelimit.rate_limit_violations (
    tenant, subject, rule, endpoint, plan, reason, shadow, count, start_time, end_time, request_id,
    limit_text
)
VALUES (
    'acme', 'user:1', 'chat', '/chat', '', 'limit', false, 1, now() - $1::interval,
    now() - $1::interval, '', '1/s'
)

-- name: ratelimit_ai_api_usage
-- A call.
INSERT INTO ratelimit.ai_api_usage (
    usage_id, tenant, subject, plan, provider, model, operation, input_tokens, output_tokens,
    cached_input_tokens, error, request_id, record_time
)
VALUES (
    gen_random_uuid(), 'acme', 'user:1', '', 'openai', 'gpt-4o', '', 1, 1, 0, '', '',
    now() - $1::interval
)

-- name: many_cache_cache_statistics
-- Two months of minutes.
INSERT INTO cache.cache_statistics (tenant, namespace, ttl_class, minute, hits)
SELECT 'acme', 'video', '', date_trunc('minute', now()) - n * interval '1 minute', 1
FROM generate_series(86400, 0, -1) AS n

-- name: many_ratelimit_rate_limit_violations
-- Two months of them.
INSERT INTO ratelimit.rate_limit_violations (
    tenant, subject, rule, endpoint, plan, reason, shadow, count, start_time, end_time, request_id,
    limit_text
)
SELECT
    'acme', 'user:' || n % 100, 'chat', '/chat', '', 'limit', false, 1,
    now() - n * interval '1 minute', now() - n * interval '1 minute', '', '1/s'
FROM generate_series(86400, 0, -1) AS n

-- name: many_ratelimit_ai_api_usage
-- Two months of them.
INSERT INTO ratelimit.ai_api_usage (
    usage_id, tenant, subject, plan, provider, model, operation, input_tokens, output_tokens,
    cached_input_tokens, error, request_id, record_time
)
SELECT
    gen_random_uuid(), 'acme', 'user:' || n % 100, '', 'openai', 'gpt-4o', '', 1, 1, 0, '', '',
    now() - n * interval '1 minute'
FROM generate_series(86400, 0, -1) AS n
