"""The API keys that count, as one process holds them, never far behind the store.

    every 2 s, and when a key is shown that is not here  ──►  revision  ──changed──►  all keys

While the store is away keys that were good stay good for the grace, and whose a key is that is not
here cannot be said. Random keys cost the store nothing but the looks that are forced: they are
shared by all who wait and at most four a second, and a key that was not there is not looked for
again until the keys have changed.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf

import structlog
from prometheus_client import Counter, Gauge

from mainstay.errors import ConfigurationError, MainstayError
from shared.identity import refusals
from shared.identity.api_key import KeyId, ShownKey
from shared.identity.grants import known_scopes
from shared.identity.ports import AT_ONCE, HeldKey, KeyStore
from shared.identity.principal import Principal

POLL_INTERVAL = 2.0
MIN_FORCED_INTERVAL = 0.25
NOTE_INTERVAL = 60.0
"""Seconds between two times that uses of keys are written."""
LONGEST_START = 5.0
LONGEST_FIND = 1.0
FAREWELL = 1.0
MAX_WAITING = 1_000
"""Calls that wait for a look at the store at the same time; more are told to come again."""
MAX_UNKNOWN = 10_000
MAX_HEADERS = 20_000
MAX_HEADER = 100
"""Characters of a header that is remembered; of a longer one most is padding."""
_FRESH = POLL_INTERVAL * 2 + 1

polls = Counter(
    "mainstay_identity_key_polls_total", "Looks at the revision of the API keys.", ["outcome"]
)
keys_held = Gauge("mainstay_identity_keys", "API keys that this process knows.")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A key, and who that is."""

    held: HeldKey
    principal: Principal


class KeyRing:
    """Knows whose keys are. `clock` is monotonic, in seconds; so nobody's clock can be set back."""

    def __init__(
        self,
        store: KeyStore,
        *,
        grace: float,
        clock: Callable[[], float],
        interval: float = POLL_INTERVAL,
        note_interval: float = NOTE_INTERVAL,
    ) -> None:
        self._store = store
        self._grace = max(grace, _FRESH)
        self._clock = clock
        self._interval = interval
        self._note_interval = note_interval
        self._keys: Mapping[KeyId, _Known] = {}
        self._proved: dict[str, _Known] = {}  # by the header's text, as long as these keys count
        self._unknown: dict[KeyId, None] = {}
        self._uses: dict[KeyId, float] = {}
        self._revision = ""
        self._usable_until = self._fresh_until = -inf
        self._offset = 0.0  # of the store's time to the clock
        self._connected = self._warned = False
        self._looking = asyncio.Lock()
        self._forced: asyncio.Task[None] | None = None
        self._forced_began = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_forced = -inf
        self._waiting = 0

    async def start(self) -> None:
        """Try once, briefly: without the store all keys are unknown, and it is tried again.

        Raises ConfigurationError for a setting that is refused, and a schema that is behind.
        """
        try:
            async with asyncio.timeout(LONGEST_START):
                await self._connect()
            await self._look()
        except ConfigurationError:
            raise
        except (MainstayError, OSError) as error:
            self._warn(error)

    async def close(self) -> None:
        """Note the last uses, if the store is there, and let it go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._fresh:
            with suppress(MainstayError, OSError, TimeoutError):
                async with asyncio.timeout(FAREWELL):
                    await self.note_uses()
        await self._store.close()

    async def run(self) -> None:
        """Look at the store again and again; for a background task, which must not end."""
        next_note = self._clock() + self._note_interval
        while True:
            await asyncio.sleep(self._interval * random.uniform(0.8, 1.2))  # noqa: S311
            await self.poll()
            if self._clock() >= next_note:
                next_note = self._clock() + self._note_interval
                try:
                    await self.note_uses()
                except (MainstayError, OSError) as error:
                    log.debug("key_uses_not_noted", error=str(error))

    def recall(self, authorization: str) -> Principal | None:
        """Return who showed the same header before, if that still counts."""
        known = self._proved.get(authorization)
        if known is None:
            return None
        now = self._clock()
        if now > self._usable_until or now + self._offset >= known.held.expires:
            return None
        self._uses[known.held.key_id] = now
        return known.principal

    def known(self, shown: ShownKey, authorization: str) -> Principal | None:
        """Return whose a key is, None if the store has to be asked; raises AuthenticationError."""
        now = self._clock()
        known = self._keys.get(shown.key_id) if now <= self._usable_until else None
        if known is None:
            if shown.key_id in self._unknown and now <= self._fresh_until:
                raise refusals.invalid()
            return None
        if not shown.is_of(known.held.digest):
            raise refusals.invalid()
        if now + self._offset >= known.held.expires:
            raise refusals.expired()
        self._remember(authorization, known)
        self._uses[shown.key_id] = now
        return known.principal

    def _remember(self, authorization: str, known: _Known) -> None:
        if len(authorization) > MAX_HEADER:
            return
        if len(self._proved) >= MAX_HEADERS:
            del self._proved[next(iter(self._proved))]
        self._proved[authorization] = known

    async def find(self, shown: ShownKey, authorization: str) -> Principal:
        """Return whose a key is after a look at the store.

        Raises AuthenticationError for nobody's, and UnavailableError when the store cannot be
        looked at within a second.
        """
        await self._refresh()
        principal = self.known(shown, authorization)
        if principal is not None:
            return principal
        if len(self._unknown) >= MAX_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[shown.key_id] = None
        raise refusals.invalid()

    async def poll(self) -> bool:
        """Look at the store; returns whether it was there."""
        async with self._looking:
            return await self._poll_alone()

    async def _poll_alone(self) -> bool:
        try:
            if not self._connected:
                await self._connect()
            await self._look()
        except (MainstayError, OSError) as error:
            self._warn(error)
            return False
        except Exception:
            # A fault in here must not end the service: keys go on for the grace.
            log.exception("keys_not_read")
            return False
        return True

    async def note_uses(self) -> None:
        """Write when keys were used last; what cannot be written now is kept."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await self._store.note_uses({each: at + self._offset for each, at in uses.items()})
        except BaseException:
            self._uses = {**uses, **self._uses}
            raise

    @property
    def _fresh(self) -> bool:
        return self._clock() <= self._fresh_until

    async def _refresh(self) -> None:
        """Wait for a look that begins from now on, one for all who wait."""
        if self._waiting >= MAX_WAITING:
            raise refusals.unavailable()
        self._waiting += 1
        try:
            began = self._clock()
            await asyncio.wait({self._next_look()}, timeout=LONGEST_FIND)
        finally:
            self._waiting -= 1
        # A look that succeeded moves this on; one that failed, or has not ended, does not.
        if self._fresh_until < began + _FRESH:
            raise refusals.unavailable()

    def _next_look(self) -> asyncio.Task[None]:
        if self._forced is None or self._forced_began:
            self._forced_began = False
            self._forced = asyncio.create_task(self._force(), name="identity-look")
            self._tasks.add(self._forced)
            self._forced.add_done_callback(self._tasks.discard)
        return self._forced

    async def _force(self) -> None:
        await asyncio.sleep(max(0.0, self._next_forced - self._clock()))
        async with self._looking:
            self._forced_began = True
            self._next_forced = self._clock() + MIN_FORCED_INTERVAL
            if self._connected:  # else `run` is connecting, which may take longer than anybody here
                await self._poll_alone()

    async def _connect(self) -> None:
        await self._store.start()
        self._connected = True

    async def _look(self) -> None:
        began = self._clock()
        revision, now = await self._store.revision()
        # The time was read between these two moments of the clock.
        self._offset = now - (began + self._clock()) / 2
        if revision != self._revision:
            await self._load(revision)
        self._usable_until = began + self._grace
        self._fresh_until = began + _FRESH
        polls.labels("ok").inc()
        if self._warned:
            self._warned = False
            log.info("keys_readable_again")

    async def _load(self, revision: str) -> None:
        """Take over what is there now; a change in between has another revision, and is seen."""
        keys: dict[KeyId, _Known] = {}
        for number, held in enumerate(await self._store.load(), start=1):
            keys[held.key_id] = _known(held)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        self._keys, self._proved, self._unknown, self._revision = keys, {}, {}, revision
        keys_held.set(len(keys))
        log.info("keys_loaded", keys=len(keys))

    def _warn(self, error: BaseException) -> None:
        """Say so once for as long as it lasts."""
        polls.labels("failed").inc()
        if not self._warned:
            self._warned = True
            reason = str(error) or type(error).__name__
            log.warning("keys_not_readable", error=reason, good_for_s=self._grace)


def _known(held: HeldKey) -> _Known:
    principal = Principal(
        name=held.key_id, tenant=held.tenant, scopes=known_scopes(held.scopes), proof="api-key"
    )
    return _Known(held=held, principal=principal)
