"""Who may call what, and as which tenant: proved by tokens of a real issuer, over real calls."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.context import RequestContext, use
from mainstay.credentials import Credentials
from mainstay.errors import AuthenticationError, AuthorizationError, MainstayError
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from shared.rpc.gate import scope_of
from shared.rpc.policy import MethodPolicy
from tests.integration.health.plain_http import ask
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.probe import Probe, probe_service
from tests.integration.shared.tokens import Issuer

GET = "mainstay.cache.v1.CacheService/Get"


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """Return one that the guarded service trusts."""
    return Issuer(tmp_path)


@pytest.fixture
async def guarded(issuer: Issuer) -> AsyncIterator[Probe]:
    """Run a service whose callers have to say who they are; its channel says nothing."""
    async with probe_service(**issuer.settings) as probe:
        yield probe


def as_(probe: Probe, *metadata: tuple[str, str]) -> Callable[[str], Any]:
    """Return what performs an act with these headers."""

    def perform(act: str) -> Any:
        return probe.cache.Get(cache_pb.GetRequest(namespace=act), metadata=metadata)

    return perform


async def _unary(probe: Probe, *metadata: tuple[str, str]) -> None:
    await probe.cache.Get(cache_pb.GetRequest(namespace="call"), metadata=metadata)


async def _stream(probe: Probe, *metadata: tuple[str, str]) -> None:
    call = probe.jobs.WatchJob(job_pb.WatchJobRequest(job_id="call"), metadata=metadata)
    async for _ in call:
        return


async def _session(probe: Probe, *metadata: tuple[str, str]) -> None:
    call = probe.workers.Session(metadata=metadata)
    with suppress(grpc.aio.AioRpcError):  # a write into an ended call does not tell its status
        await call.write(worker_pb.SessionRequest(hello=worker_pb.Hello(worker="call")))
        if await call.read() is not grpc.aio.EOF:
            return
    nothing = grpc.aio.Metadata()
    raise grpc.aio.AioRpcError(await call.code(), nothing, nothing)


EVERY_KIND = pytest.mark.parametrize("kind", [_unary, _stream, _session])


async def _code_of(awaitable: Any) -> grpc.StatusCode:
    try:
        await awaitable
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


class TestCaller:
    @EVERY_KIND
    async def test_that_says_nothing_is_refused(self, guarded: Probe, kind: Any) -> None:
        """Whatever kind of call it is; nothing of it reaches a servicer."""
        assert grpc.StatusCode.UNAUTHENTICATED == await _code_of(kind(guarded))
        assert guarded.acts.seen == []

    @EVERY_KIND
    async def test_that_proves_itself_is_served(
        self, guarded: Probe, issuer: Issuer, kind: Any
    ) -> None:
        """And the servicer knows who it is."""
        code = await _code_of(kind(guarded, issuer.header("svc-billing")))
        (seen,) = guarded.acts.seen

        assert (grpc.StatusCode.OK, "svc-billing") == (code, seen["principal"])

    @pytest.mark.parametrize(
        "authorization",
        [
            "",
            "Bearer",
            "Bearer ",
            "Bearer x",
            "Basic dTpw",
            "Bearer a.b.c",
            f"Bearer {'x' * 4_000}",
        ],
    )
    async def test_that_makes_something_up_is_refused(
        self, guarded: Probe, authorization: str
    ) -> None:
        """Quickly, and without being told what was wrong with it."""
        call = as_(guarded, ("authorization", authorization))("call")

        assert grpc.StatusCode.UNAUTHENTICATED == await _code_of(call)
        assert "x" * 20 not in (await call.details())

    async def test_of_another_issuer_is_refused(self, guarded: Probe, tmp_path: Path) -> None:
        """Even under the name of a key that is known."""
        (tmp_path / "other").mkdir()
        other = Issuer(tmp_path / "other")

        assert grpc.StatusCode.UNAUTHENTICATED == await _code_of(
            as_(guarded, other.header())("call")
        )

    async def test_that_was_known_is_refused_once_its_token_has_ended(
        self, guarded: Probe, issuer: Issuer
    ) -> None:
        """By the error that the SDK raises for it."""
        who = Credentials(token=issuer.token(seconds=-3600))
        async with probe_service(credentials=who, **issuer.settings) as probe:
            with pytest.raises(AuthenticationError) as caught:
                await probe.get("call")

        assert caught.value.reason.startswith("CREDENTIALS_")


class TestScope:
    async def test_that_is_missing_is_named(self, guarded: Probe, issuer: Issuer) -> None:
        """With who asked, so that somebody can grant it."""
        who = Credentials(token=issuer.token("reader", scopes=["jobs:read"]))
        async with probe_service(credentials=who, **issuer.settings) as probe:
            with pytest.raises(AuthorizationError) as caught:
                await probe.get("call")

        assert "SCOPE_MISSING" == caught.value.reason
        assert {"scope": "cache:read", "principal": "reader"} == caught.value.metadata

    @pytest.mark.parametrize("scope", ["cache:read", "cache:*", "*"])
    async def test_may_be_granted_by_itself_or_with_others(
        self, guarded: Probe, issuer: Issuer, scope: str
    ) -> None:
        """One act, all of an area, all."""
        call = as_(guarded, issuer.header(scopes=[scope]))("call")

        assert grpc.StatusCode.OK == await _code_of(call)

    async def test_of_reading_is_not_that_of_writing(self, guarded: Probe, issuer: Issuer) -> None:
        """Each is granted by itself."""
        header = issuer.header(scopes=["cache:read"])
        call = guarded.cache.Set(cache_pb.SetRequest(namespace="call"), metadata=(header,))

        assert grpc.StatusCode.PERMISSION_DENIED == await _code_of(call)

    def test_has_to_be_declared(self) -> None:
        """A method that nobody thought about cannot be served."""
        with pytest.raises(ValueError, match="no scope is declared"):
            scope_of("mainstay.cache.v1.CacheService/Uninvented", MethodPolicy())

    def test_has_to_be_one_that_there_is(self) -> None:
        """A misspelt one would be nobody's."""
        with pytest.raises(ValueError, match="'cache:raed' is no scope"):
            scope_of(GET, MethodPolicy(scope="cache:raed"))


class TestTenant:
    async def _tenant_of(self, probe: Probe, *metadata: tuple[str, str]) -> str:
        await as_(probe, *metadata)("call")
        return str(probe.acts.seen[-1]["tenant"])

    async def test_is_the_callers_own(self, guarded: Probe, issuer: Issuer) -> None:
        """Whether it is named or not."""
        header = issuer.header(tenant="acme")

        assert "acme" == await self._tenant_of(guarded, header)
        assert "acme" == await self._tenant_of(guarded, header, ("x-mainstay-tenant", "acme"))

    @pytest.mark.parametrize("named", ["globex", "*", "default", "ACME", "acme "])
    async def test_of_others_is_refused(self, guarded: Probe, issuer: Issuer, named: str) -> None:
        """Under every name."""
        context = RequestContext(request_id="r-1", tenant=named)
        who = Credentials(token=issuer.token(tenant="acme"))
        async with probe_service(credentials=who, **issuer.settings) as probe:
            with use(context), pytest.raises(MainstayError) as caught:
                await probe.get("call")

        assert probe.acts.seen == []
        assert "TENANT_FORBIDDEN" == caught.value.reason

    async def test_is_any_that_a_caller_for_all_names(self, guarded: Probe, issuer: Issuer) -> None:
        """The default one without a name."""
        header = issuer.header(tenant="*")

        assert "globex" == await self._tenant_of(guarded, header, ("x-mainstay-tenant", "globex"))
        assert "default" == await self._tenant_of(guarded, header)


class TestOpenMethods:
    async def test_answer_balancers(self, guarded: Probe) -> None:
        """Which cannot say who they are."""
        stub = health_pb2_grpc.HealthStub(guarded.channel.raw)
        answer = await stub.Check(health_pb2.HealthCheckRequest())

        assert health_pb2.HealthCheckResponse.SERVING == answer.status

    async def test_are_those_too_that_do_not_exist(self, guarded: Probe) -> None:
        """A balancer of AWS takes UNIMPLEMENTED for health."""
        call = guarded.raw("/AWS.ALB/healthcheck")(b"")

        assert grpc.StatusCode.UNIMPLEMENTED == await _code_of(call)

    @pytest.mark.parametrize(
        ("scopes", "code"),
        [
            (None, grpc.StatusCode.UNAUTHENTICATED),
            (["cache:read"], grpc.StatusCode.PERMISSION_DENIED),
            (["operations:read"], grpc.StatusCode.OK),
        ],
    )
    async def test_are_not_those_that_tell_what_there_is(
        self, guarded: Probe, issuer: Issuer, scopes: list[str] | None, code: grpc.StatusCode
    ) -> None:
        """Reflection is for those who may look inside."""
        stub = reflection_pb2_grpc.ServerReflectionStub(guarded.channel.raw)
        metadata = () if scopes is None else (issuer.header(scopes=scopes),)
        call = stub.ServerReflectionInfo(metadata=metadata)

        async def first() -> None:
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            await call.read()

        assert code == await _code_of(first())


class TestOperations:
    @pytest.mark.parametrize(
        ("scopes", "status"), [(None, 401), (["cache:read"], 403), (["operations:read"], 200)]
    )
    async def test_metrics_are_for_those_who_may(
        self, guarded: Probe, issuer: Issuer, scopes: list[str] | None, status: int
    ) -> None:
        """As over gRPC."""
        header = {} if scopes is None else dict([issuer.header(scopes=scopes)])
        port = int(guarded.service.ops_address.rpartition(":")[2])
        answer = await ask(port, "/metrics", headers=header)

        assert status == answer.status

    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
    async def test_probes_are_for_everybody(self, guarded: Probe, path: str) -> None:
        """A kubelet has no credentials."""
        port = int(guarded.service.ops_address.rpartition(":")[2])

        assert 200 == (await ask(port, path)).status


class TestLines:
    async def test_say_who_called(self, log_lines: ReadLog, guarded: Probe, issuer: Issuer) -> None:
        """Of calls that end well and of others; never by what."""
        header = issuer.header("svc-billing")
        await as_(guarded, header)("call")
        await _code_of(as_(guarded, header)("crash"))
        lines = [line for line in log_lines() if line.get("method") == GET]

        assert {"svc-billing"} == {line["principal"] for line in lines}
        assert len(lines) == 2
        assert header[1][10:] not in str(log_lines())

    async def test_of_the_refused_name_nobody(self, log_lines: ReadLog, guarded: Probe) -> None:
        """There is nobody to name; that they were refused is said."""
        await _code_of(as_(guarded)("call"))
        (line,) = [line for line in log_lines() if line.get("method") == GET]

        assert "principal" not in line
        assert ("UNAUTHENTICATED", "CREDENTIALS_MISSING") == (line["code"], line["reason"])

    async def test_say_at_every_start_that_nobody_is_asked(self, log_lines: ReadLog) -> None:
        """Where authentication is off."""
        async with probe_service():
            events = [line["event"] for line in log_lines()]

        assert "authentication_off" in events


class TestStrangers:
    async def test_do_not_fill_the_audit_log(self, log_lines: ReadLog, guarded: Probe) -> None:
        """They are told of, ten a second, and crowd nobody out."""
        retry = guarded.raw("/mainstay.jobs.v1.JobService/RetryJob")
        await asyncio.gather(*(_code_of(retry(b"")) for _ in range(300)))
        acts = [line for line in log_lines() if line["event"] == "admin_act"]

        assert {"anonymous"} == {act["principal"] for act in acts}
        assert len(acts) < 100

    async def test_are_told_from_those_who_may_not(
        self, log_lines: ReadLog, guarded: Probe, issuer: Issuer
    ) -> None:
        """Of whom every act is kept: they have a name."""
        retry = guarded.raw("/mainstay.jobs.v1.JobService/RetryJob")
        header = issuer.header(scopes=["jobs:read"])
        await asyncio.gather(*(_code_of(retry(b"", metadata=(header,))) for _ in range(50)))
        acts = [line for line in log_lines() if line["event"] == "admin_act"]

        assert ["SCOPE_MISSING"] * 50 == [act["reason"] for act in acts]

    async def test_hold_no_slots(self, issuer: Issuer) -> None:
        """However many come at once."""
        async with probe_service(max_concurrent_calls=1, **issuer.settings) as probe:
            held = asyncio.ensure_future(as_(probe, issuer.header())("hold"))
            await probe.acts.entered.acquire()
            codes = await asyncio.gather(*(_code_of(as_(probe)("call")) for _ in range(20)))
            probe.acts.release.set()
            await held

        assert {grpc.StatusCode.UNAUTHENTICATED} == set(codes)
