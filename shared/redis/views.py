"""Asking a cluster's nodes who owns what, and whom to believe."""

import asyncio
import random
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass

from mainstay.errors import ConfigurationError, UnavailableError
from shared.redis.errors import RedisReplyError
from shared.redis.link import RedisLink
from shared.redis.slots import Topology

ASKED = 5
"""Nodes that are asked at most: enough to outvote one that is cut off, cheap on a large cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one node says."""

    ok: bool
    """Whether that node itself takes part: one that is cut off from most masters does not."""
    epoch: int
    """Grows with every promotion and migration; the node that has seen more is right."""
    topology: Topology


async def best_view(links: Sequence[RedisLink], others: Sequence[RedisLink]) -> Topology:
    """Ask over open links; if what those know is no good, over others that are opened for it.

    Raises UnavailableError when no node answers.
    """
    answers = await _all(_view(link) for link in _some(links))
    if not any(isinstance(answer, View) and answer.ok for answer in answers):
        answers += await _all(_visit(link) for link in _some(others))
    views = [answer for answer in answers if isinstance(answer, View)]
    if not views:
        raise _worst(answers)
    return max(views, key=lambda view: (view.ok, view.epoch)).topology


def _worst(answers: Sequence[View | BaseException]) -> BaseException:
    """Return what waiting does not mend, if there is such; else any."""
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    lasting = [error for error in errors if not isinstance(error, UnavailableError)]
    return [*lasting, *errors][0]


def _some(links: Sequence[RedisLink]) -> list[RedisLink]:
    return random.sample(links, min(ASKED, len(links)))


async def _all(questions: Iterable[Awaitable[View]]) -> list[View | BaseException]:
    return await asyncio.gather(*questions, return_exceptions=True)


async def _visit(link: RedisLink) -> View:
    await link.start()
    try:
        return await _view(link)
    finally:
        await link.close()


async def _view(link: RedisLink) -> View:
    asked = link.send(("CLUSTER", "INFO")), link.send(("CLUSTER", "SLOTS"))
    try:
        info, slots = await asyncio.gather(*asked)
    except RedisReplyError as error:
        raise ConfigurationError(
            f"Redis at {link.endpoint.address} did not say which node holds which slots: {error}; "
            "let the user of MAINSTAY_REDIS_URL run CLUSTER INFO and CLUSTER SLOTS"
        ) from error
    facts = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
    return View(
        ok=facts.get(b"cluster_state") == b"ok",
        epoch=int(facts.get(b"cluster_current_epoch", 0)),
        topology=Topology.parse(slots, asked_host=link.endpoint.host),
    )
