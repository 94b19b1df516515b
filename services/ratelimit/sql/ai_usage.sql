-- Calls to AI providers. Money is in millionths of a US dollar, latency in microseconds.

-- name: add_usage
-- Adds calls, but none whose id or request is there already; returns the ids of those it added. Arrays
-- are columns.
INSERT INTO ratelimit.ai_api_usage (
    usage_id, tenant, subject, plan, provider, model, operation,
    input_tokens, output_tokens, cached_input_tokens, latency_us, cost_micros,
    error, request_id, record_time
)
SELECT *
FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[],
    $13::text[], $14::text[], $15::timestamptz[]
)
ON CONFLICT DO NOTHING
RETURNING usage_id

-- name: find_request
-- Returns the id of the call that a request has recorded.
SELECT usage_id FROM ratelimit.ai_api_usage
WHERE tenant = $1 AND request_id = $2 AND request_id <> ''

-- name: plan_for_values
-- Has the statements of this transaction planned for the values they come with: which index serves
-- depends on what is asked for.
SET LOCAL plan_cache_mode = force_custom_plan

-- name: sum_usage
-- Returns sums by the dimensions in $1 (day, provider, model, subject, operation), the most expensive
-- first, that come after one of them: $8 is what that cost, $9 its name, and $10 how many are wanted.
-- The first row, which has no name, is the sum of all.
WITH narrowed AS (
    SELECT
        *,
        CASE WHEN 'day' = ANY($1::text[])
            THEN to_char(record_time AT TIME ZONE 'UTC', 'YYYY-MM-DD') ELSE '' END AS day,
        CASE WHEN 'provider' = ANY($1) THEN provider ELSE '' END AS by_provider,
        CASE WHEN 'model' = ANY($1) THEN model ELSE '' END AS by_model,
        CASE WHEN 'subject' = ANY($1) THEN subject ELSE '' END AS by_subject,
        CASE WHEN 'operation' = ANY($1) THEN operation ELSE '' END AS by_operation
    FROM ratelimit.ai_api_usage
    WHERE
        tenant = $2
        AND record_time >= $3::timestamptz AND record_time < $4::timestamptz
        AND ($5::text = '' OR subject = $5)
        AND ($6::text = '' OR provider = $6)
        AND ($7::text = '' OR model = $7)
),
summed AS (
    SELECT
        day, by_provider, by_model, by_subject, by_operation,
        -- What orders groups that cost the same, and is short whatever they are called.
        CASE grouping(day)
            WHEN 1 THEN ''
            ELSE md5(array_to_string(
                ARRAY[day, by_provider, by_model, by_subject, by_operation], E'\n'
            ))
        END AS name,
        count(*) AS calls,
        count(*) FILTER (WHERE error <> '') AS failed_calls,
        coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
        coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
        coalesce(sum(cached_input_tokens), 0)::bigint AS cached_input_tokens,
        coalesce(sum(cost_micros), 0)::bigint AS cost_micros,
        count(*) FILTER (WHERE cost_micros IS NULL) AS unpriced_calls,
        avg(latency_us)::bigint AS mean_latency_us
    FROM narrowed
    GROUP BY GROUPING SETS ((), (day, by_provider, by_model, by_subject, by_operation))
)
(SELECT * FROM summed WHERE name = '')
UNION ALL
(
    SELECT * FROM summed
    WHERE name <> '' AND (-cost_micros, name) > (-$8::bigint, $9::text)
    ORDER BY -cost_micros, name
    LIMIT $10::integer
)

-- name: delete_old_usage
-- Deletes at most $2 rows that are older than $1; returns how many it was.
SELECT ratelimit.delete_old_ai_usage($1::interval, $2::integer)
