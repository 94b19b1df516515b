"""Schedules: what starts by the clock, when, and what becomes of missed ticks."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from cronsim import CronSim, CronSimError

from services.jobs.function import NAME
from shared.rpc.call import Tenant

MAX_CRON = 200
MAX_CAUGHT_UP = 100
"""Ticks that `CatchUp.ALL` makes up for at most, the latest."""
ON_TIME = timedelta(seconds=60)
"""A tick that is later than this was missed, and the schedule's catch-up decides."""

_FIELDS = 5


class CatchUp(StrEnum):
    """What becomes of missed ticks; the values are those of the column."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDraft:
    """A schedule as wanted; `data` is JSON text, one of `event` and `function` is set."""

    name: str
    cron: str
    time_zone: str
    event: str
    function: str
    data: str
    catch_up: CatchUp
    paused: bool

    def mistakes(self) -> dict[str, str]:
        """Return what is wrong: field → what would be right."""
        wrong = {}
        if not NAME.fullmatch(self.name):
            wrong["name"] = "must be 1 to 100 of a-z 0-9 . _ / -"
        if bool(self.event) == bool(self.function):
            wrong["start"] = "one of event and function must be set"
        if mistake := _cron_mistake(self.cron):
            wrong["cron"] = mistake
        if mistake := _zone_mistake(self.time_zone):
            wrong["time_zone"] = mistake
        if mistake := _data_mistake(self.data):
            wrong["data_json"] = mistake
        return wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as it is stored; `next_time` is None while it is paused."""

    tenant: Tenant
    draft: ScheduleDraft
    system: bool
    next_time: datetime | None
    last_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The ticks that are to take place now, and the one that comes after them all."""

    ticks: tuple[datetime, ...]
    next_time: datetime


def next_tick(draft: ScheduleDraft, after: datetime) -> datetime:
    """Return the first tick after a moment, in UTC.

    Raises ValueError for a schedule that has none, which `mistakes` tells of.
    """
    return next(_ticks(draft, after), None) or _never(draft.cron)


def due(draft: ScheduleDraft, next_time: datetime, now: datetime) -> Due:
    """Return what is due at `now` of a schedule whose next tick was to be at `next_time`."""
    begin = _first_of_interest(draft, next_time, now)
    passed = list(takewhile(lambda tick: tick <= now, _ticks(draft, begin)))
    missed = [tick for tick in passed if tick < now - ON_TIME]
    on_time = passed[len(missed) :]
    match draft.catch_up:
        case CatchUp.NONE:
            ticks = on_time
        case CatchUp.LATEST:
            ticks = on_time or missed[-1:]
        case CatchUp.ALL:
            ticks = passed[-MAX_CAUGHT_UP:]
    return Due(ticks=tuple(ticks), next_time=next_tick(draft, now))


def _first_of_interest(draft: ScheduleDraft, next_time: datetime, now: datetime) -> datetime:
    """Return a moment before the ticks that can matter: after a long standstill not all can."""
    zone = ZoneInfo(draft.time_zone)
    backwards = CronSim(draft.cron, now.astimezone(zone), reverse=True)
    far_back = list(islice(backwards, MAX_CAUGHT_UP + 1))
    earliest = far_back[-1].astimezone(UTC) if far_back else next_time
    return max(next_time, earliest) - timedelta(seconds=1)


def _ticks(draft: ScheduleDraft, after: datetime) -> Any:
    zone = ZoneInfo(draft.time_zone)
    return (tick.astimezone(UTC) for tick in CronSim(draft.cron, after.astimezone(zone)))


def _never(cron: str) -> datetime:
    raise ValueError(f"{cron!r} never takes place")


@lru_cache(maxsize=1_000)
def _cron_mistake(cron: str) -> str:
    fields = cron.split()
    if len(cron) > MAX_CRON or len(fields) != _FIELDS:
        return "must be five fields: minute, hour, day of month, month, day of week"
    try:
        if next(CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC)), None) is None:
            return "never takes place"
    except CronSimError as error:
        return f"{error}; must be as in crontab(5), such as 0 3 * * 1-5"
    return ""


def _zone_mistake(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"{zone[:100]!r} is no IANA time zone, such as Europe/Berlin"
    return ""


def _data_mistake(data: str) -> str:
    try:
        if isinstance(orjson.loads(data), dict):
            return ""
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error}"
    return "must be a JSON object"


def data_at(draft: ScheduleDraft, tick: datetime) -> str:
    """Return the payload of a tick, JSON text: `{tick}` and `{date}` in strings are filled in."""
    local = tick.astimezone(ZoneInfo(draft.time_zone))
    words = {
        "{tick}": tick.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "{date}": local.date().isoformat(),
    }
    return orjson.dumps(_filled(orjson.loads(draft.data), words)).decode()


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    match value:
        case str():
            for word, meaning in words.items():
                value = value.replace(word, meaning)
            return value
        case dict():
            return {key: _filled(item, words) for key, item in value.items()}
        case list():
            return [_filled(item, words) for item in value]
        case _:
            return value
