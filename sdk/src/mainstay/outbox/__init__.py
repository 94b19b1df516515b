"""A transactional outbox: a job exists if and only if a transaction of a user's database committed.

`Outbox` puts two SQL functions into a PostgreSQL database of yours; `OutboxRelay` takes what your
transactions gave them to the jobs service. Needs the extra `mainstay[outbox]`.

::

    await Outbox(url).install(senders=["my_app"])

    BEGIN;
    INSERT INTO orders ...;
    SELECT mainstay_outbox.send_event('order/placed', '{"order_id": 42}');
    COMMIT;

    async with Channel("127.0.0.1:50053", tenant="acme") as channel:
        await OutboxRelay(Outbox(url), channel).run_until_signal()
"""

from mainstay.outbox.outbox import Outbox, OutboxStatus, TroubledMessage
from mainstay.outbox.relay import OutboxRelay, Round
from mainstay.outbox.schema import DEFAULT_SCHEMA

__all__ = [
    "DEFAULT_SCHEMA",
    "Outbox",
    "OutboxRelay",
    "OutboxStatus",
    "Round",
    "TroubledMessage",
]
