-- Contracts of events that were put by calls. The tenant is $1; those of tenant * are everybody's.

-- name: insert_schema
-- Stores a version that is not there yet.
INSERT INTO jobs.event_schemas (tenant, name, version, schema)
VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant, name, version) DO NOTHING

-- name: find_schemas
-- Returns versions of contracts, for version 0 the newest. The text is null for those in $4, by the
-- same places, which the caller has already.
SELECT wanted.name, wanted.version AS wanted, found.version,
    CASE WHEN found.version <> wanted.known THEN found.schema END AS schema
FROM unnest($2::text[], $3::int[], $4::int[]) AS wanted (name, version, known)
CROSS JOIN LATERAL (
    SELECT s.version, s.schema
    FROM jobs.event_schemas AS s
    WHERE s.tenant IN ($1, '*')
        AND s.name = wanted.name
        AND (wanted.version = 0 OR s.version = wanted.version)
    -- A tenant's own goes before the one for all tenants.
    ORDER BY s.version DESC, s.tenant = '*'
    LIMIT 1
) AS found

-- name: list_schemas
-- Returns contracts behind the one of $3 and $4, of the event in $2 or, where it is empty, of all.
SELECT DISTINCT ON (name, version) name, version, schema
FROM jobs.event_schemas
WHERE tenant IN ($1, '*')
    AND ($2 = '' OR name = $2)
    AND (name, version) > ($3::text, $4::int)
ORDER BY name, version, tenant = '*'
LIMIT $5

-- name: list_schema_names
-- Returns the names of events that have a contract, up to $2 of them.
SELECT DISTINCT name
FROM jobs.event_schemas
WHERE tenant IN ($1, '*')
ORDER BY name
LIMIT $2
