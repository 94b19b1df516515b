"""An AI call within its budgets: asked for before, recorded after."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from mainstay.errors import MainstayError
from mainstay.ratelimit.ai_usage import AiRecorded, AiReserved, AiUsage
from mainstay.ratelimit.denial import over_budget
from mainstay.ratelimit.results import Decision

_MOST_ERROR_CHARACTERS = 500

_log = logging.getLogger("mainstay.ratelimit")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Used:
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cost_micros: int | None = None


class AiCall:
    """An AI call that the budgets have admitted.

    Attributes:
        decision: What they decided.
        estimated_cost_micros: What the call costs at most, in millionths of a US dollar; None for
            a model without a price.
        recorded: What was recorded, once the block has ended; None when that failed.

    """

    def __init__(self, reserved: AiReserved) -> None:
        self.decision: Decision = reserved.decision
        self.estimated_cost_micros = reserved.estimated_cost_micros
        self.recorded: AiRecorded | None = None
        self._used: _Used | None = None

    def used(
        self,
        *,
        input_tokens: int,
        output_tokens: int,
        cached_input_tokens: int = 0,
        cost_micros: int | None = None,
    ) -> None:
        """Say what the provider counted, as soon as that is known; the last word counts."""
        self._used = _Used(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cached_input_tokens=cached_input_tokens,
            cost_micros=cost_micros,
        )


class AiCalls(AiUsage):
    """Runs AI calls within their budgets."""

    @asynccontextmanager
    async def ai_call(
        self,
        subject: str,
        *,
        provider: str,
        model: str,
        input_tokens: int,
        max_output_tokens: int,
        plan: str | None = None,
        operation: str = "",
    ) -> AsyncGenerator[AiCall, None]:
        """Hold an estimate against the subject's budgets while the block calls a provider.

        ::

            async with limits.ai_call(
                "user:42",
                provider="openai",
                model="gpt-4o",
                input_tokens=900,
                max_output_tokens=500,
            ) as call:
                answer = await provider.chat(...)
                call.used(input_tokens=answer.prompt_tokens, output_tokens=answer.output_tokens)

        When the block ends, what it `used` is recorded with the time it took, and the difference to
        the estimate is charged or given back. A block that fails without having said what it used
        is recorded as failed and as having used nothing; one that is cancelled or says nothing is
        charged the whole estimate. A record that fails is logged and does not fail the block.

        Raises AiQuotaError with `retry_after` when a budget does not allow it, RateLimitStoreError
        when nobody can tell and the budget is closed then.
        """
        reserved = await self.reserve_ai_usage(
            subject,
            provider=provider,
            model=model,
            input_tokens=input_tokens,
            max_output_tokens=max_output_tokens,
            plan=plan,
        )
        if not reserved.decision.allowed:
            raise over_budget(reserved.decision, subject)
        call = AiCall(reserved)
        estimate = _Used(input_tokens=input_tokens, output_tokens=max_output_tokens)
        unused = _Used(input_tokens=0, output_tokens=0)
        began, error, otherwise = time.monotonic(), "", estimate
        try:
            yield call
        except Exception as failure:
            error, otherwise = _told(failure), unused
            raise
        except BaseException as end:
            error = _told(end)
            raise
        finally:
            used = call._used or otherwise  # noqa: SLF001 - the other half of `used`
            if call._used is None and not error:  # noqa: SLF001 - as above
                _log.warning("an AI call did not say what it used; charging its estimate")
            recording = self._beside.start(
                self._record(
                    call,
                    subject=subject,
                    plan=plan,
                    provider=provider,
                    model=model,
                    used=used,
                    latency=timedelta(seconds=time.monotonic() - began),
                    operation=operation,
                    error=error,
                    reservation=reserved.reservation,
                ),
                "recording AI usage",
            )
            # Who is cancelled meanwhile does not wait; the record is made all the same.
            await asyncio.wait({recording})

    async def _record(
        self,
        call: AiCall,
        *,
        subject: str,
        plan: str | None,
        provider: str,
        model: str,
        used: _Used,
        latency: timedelta,
        operation: str,
        error: str,
        reservation: str,
    ) -> None:
        try:
            call.recorded = await self.record_ai_usage(
                subject,
                plan=plan,
                provider=provider,
                model=model,
                input_tokens=used.input_tokens,
                output_tokens=used.output_tokens,
                cached_input_tokens=used.cached_input_tokens,
                cost_micros=used.cost_micros,
                latency=latency,
                operation=operation,
                error=error,
                reservation=reservation,
            )
        except Exception as failure:  # noqa: BLE001 - figures that are none must not vanish either
            _log.error(
                "could not record an AI call: %s/%s of %s with %s and %s tokens: %s",
                provider,
                model,
                subject,
                used.input_tokens,
                used.output_tokens,
                failure.message if isinstance(failure, MainstayError) else repr(failure),
            )


def _told(error: BaseException) -> str:
    # Halves of characters, which have no place in a message, would keep all of it from arriving.
    said = f"{type(error).__name__}: {error}"[:_MOST_ERROR_CHARACTERS]
    return said.encode(errors="replace").decode()
