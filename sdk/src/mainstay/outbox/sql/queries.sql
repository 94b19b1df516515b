-- What relays, and those who look after an outbox, ask it. Sizes in bytes, times by its database.

-- name: find_version
-- The newest step that was applied; none for an outbox that is being made.
SELECT max(version) FROM mainstay_outbox.versions;

-- name: take
-- Locks the next messages, up to $1, and returns the first of them, $2 bytes of data together: at
-- least one. Those that another relay holds are passed over.
WITH locked AS (
    SELECT id, data_bytes, next_attempt_time
    FROM mainstay_outbox.messages
    WHERE fail_time IS NULL AND next_attempt_time <= now() AND kind = ANY ($3::text[])
    ORDER BY next_attempt_time, id
    LIMIT $1
    FOR UPDATE SKIP LOCKED
), placed AS (
    SELECT id, row_number() OVER line AS place, sum(data_bytes) OVER line AS bytes
    FROM locked
    WINDOW line AS (ORDER BY next_attempt_time, id)
)
SELECT
    message.id, message.kind, message.name, message.version, message.data::text AS data,
    message.idempotency_key, message.priority,
    extract(epoch FROM message.delay)::double precision AS delay_seconds,
    message.tenant, message.request_id, message.traceparent, message.attempts
FROM placed JOIN mainstay_outbox.messages AS message USING (id)
WHERE placed.place = 1 OR placed.bytes <= $2
ORDER BY placed.place;

-- name: delete
-- Forgets messages.
DELETE FROM mainstay_outbox.messages WHERE id = ANY ($1::bigint[]);

-- name: defer
-- Has messages tried again after pauses, in seconds.
UPDATE mainstay_outbox.messages AS message
SET attempts = message.attempts + 1, last_error = told.error,
    next_attempt_time = clock_timestamp() + make_interval(secs => told.pause)
FROM unnest($1::bigint[], $2::text[], $3::double precision[]) AS told (id, error, pause)
WHERE message.id = told.id;

-- name: set_aside
-- Moves messages aside.
UPDATE mainstay_outbox.messages AS message
SET attempts = message.attempts + 1, last_error = told.error, fail_time = clock_timestamp()
FROM unnest($1::bigint[], $2::text[]) AS told (id, error)
WHERE message.id = told.id;

-- name: find_status
-- How many messages there are in which state, and since when the oldest is on its way.
SELECT
    count(*) FILTER (WHERE fail_time IS NULL) AS pending,
    count(*) FILTER (WHERE fail_time IS NULL AND attempts > 0) AS deferred,
    count(*) FILTER (WHERE fail_time IS NOT NULL) AS failed,
    clock_timestamp() - min(create_time) FILTER (WHERE fail_time IS NULL) AS oldest_age
FROM mainstay_outbox.messages;

-- name: find_troubled
-- Messages that were not accepted when last tried, the failed ones first, then the newest.
SELECT id, kind, name, tenant, attempts, last_error, create_time, fail_time
FROM mainstay_outbox.messages
WHERE attempts > 0
ORDER BY fail_time DESC NULLS LAST, id DESC
LIMIT $1;

-- name: retry
-- Has messages that were moved aside tried again: these, or with null all.
UPDATE mainstay_outbox.messages
SET fail_time = NULL, attempts = 0, next_attempt_time = now()
WHERE fail_time IS NOT NULL AND ($1::bigint[] IS NULL OR id = ANY ($1))
RETURNING id;

-- name: discard
-- Deletes messages that were moved aside.
DELETE FROM mainstay_outbox.messages
WHERE fail_time IS NOT NULL AND id = ANY ($1::bigint[])
RETURNING id;

-- name: lock
-- Keeps everybody from adding and taking messages until the transaction ends.
LOCK TABLE mainstay_outbox.messages IN ACCESS EXCLUSIVE MODE;

-- name: remove
-- Not CASCADE: what somebody else has built upon it stays, and is named by the error.
DROP TABLE mainstay_outbox.messages;
DROP FUNCTION mainstay_outbox.send_event;
DROP FUNCTION mainstay_outbox.enqueue;
DROP FUNCTION mainstay_outbox.wake_relays();
DROP TABLE mainstay_outbox.versions;
DROP SCHEMA mainstay_outbox;
