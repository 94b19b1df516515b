"""What HTTP pollers read, whatever state the suite and this instance are in."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.health.maintenance import Mode
from services.health.state import State
from tests.integration.health.plain_http import ask, read_answer, send
from tests.integration.health.stand import ONE, OTHER, REDIS, Stand, open_stand

TOKEN = "0123456789abcdef"
INSTANCE = ("/livez", "/readyz", "/startupz")
BRIEF = {"status", "latency"}


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    """Serve, with everything healthy."""
    async with open_stand() as stand:
        yield stand


async def statuses(stand: Stand, *paths: str) -> list[int]:
    """Return the status of each path."""
    return [(await ask(stand.http.port, path)).status for path in paths]


class TestDocument:
    async def test_has_the_required_form(self, stand: Stand) -> None:
        """Status, timestamp and checks; 200, its own media type, never to be cached."""
        answer = await ask(stand.http.port, "/health")
        document = answer.document()

        assert (200, "application/health+json", "no-store") == (
            answer.status,
            answer.headers["content-type"],
            answer.headers["cache-control"],
        )
        assert ("healthy", ["cache", "redis"]) == (document["status"], [*document["checks"]])
        assert document["timestamp"].endswith("Z")
        assert BRIEF <= document["checks"]["redis"].keys()

    async def test_is_there_under_both_paths(self, stand: Stand) -> None:
        """The requirements name one, gateways route the other."""
        short, long = [await ask(stand.http.port, path) for path in ("/health", "/api/health")]

        assert short.document()["checks"] == long.document()["checks"]

    async def test_degraded_invites_traffic_and_says_so(self, stand: Stand) -> None:
        """Envoy then prefers others, where there are any."""
        stand.see(State.UNHEALTHY, REDIS)
        answer = await ask(stand.http.port, "/health")

        assert (200, "degraded", "degraded") == (
            answer.status,
            answer.document()["status"],
            answer.document()["checks"]["cache"]["status"],
        )
        assert "x-envoy-degraded" in answer.headers

    async def test_unhealthy_says_when_to_come_back(self, stand: Stand) -> None:
        """503, after an interval something may have changed."""
        stand.see(State.UNHEALTHY, ONE, OTHER)
        answer = await ask(stand.http.port, "/health")

        assert (503, "2", "unhealthy") == (
            answer.status,
            answer.headers["retry-after"],
            answer.document()["status"],
        )
        assert "x-envoy-degraded" not in answer.headers

    async def test_what_is_old_is_unknown(self, stand: Stand) -> None:
        """An old answer is not a healthy answer."""
        stand.see(State.HEALTHY, age=3600)
        answer = await ask(stand.http.port, "/health")

        assert (503, "unknown") == (answer.status, answer.document()["status"])

    async def test_maintenance_of_the_whole(self, stand: Stand) -> None:
        """No traffic, and not because anything failed."""
        stand.take_out("suite", Mode.MAINTENANCE)
        answer = await ask(stand.http.port, "/health")

        assert (503, "maintenance") == (answer.status, answer.document()["status"])


class TestDetails:
    async def test_are_shown_on_this_machine(self, stand: Stand) -> None:
        """Without a token, since nobody else reaches loopback."""
        stand.see(State.UNHEALTHY, REDIS, message="Refused the connection.")
        checks = (await ask(stand.http.port, "/health")).document()["checks"]

        assert ("Refused the connection.", "probe-redis", False) == (
            checks["redis"]["message"],
            checks["redis"]["request_id"],
            checks["redis"]["critical"],
        )
        assert (["redis"], ["redis"]) == (checks["cache"]["needs"], checks["cache"]["because"])
        assert [ONE.name, OTHER.name] == [*checks["cache"]["replicas"]]

    async def test_are_for_bearers_of_the_token(self) -> None:
        """Everybody else reads states and latencies, and no reason, address or id."""
        async with open_stand(token=TOKEN) as stand:
            stand.see(State.UNHEALTHY, REDIS, message="Refused the connection.")
            stand.take_out("cache", Mode.DRAIN, reason="a secret move")
            brief = await ask(stand.http.port, "/health")
            of_one = await ask(stand.http.port, f"/readyz/{REDIS.name}")
            full = await ask(
                stand.http.port, "/health", headers={"Authorization": f"Bearer {TOKEN}"}
            )

        checks = brief.document()["checks"]
        assert {"status", "timestamp", "checks"} == brief.document().keys()
        assert [BRIEF, BRIEF] == [set(check) for check in checks.values()]
        for hidden in (b"Refused", b"10.0.0", b"probe-", b"secret"):
            assert hidden not in brief.body + of_one.body
        assert "a secret move" == full.document()["checks"]["cache"]["maintenance"]["reason"]

    @pytest.mark.hostile
    @pytest.mark.parametrize("header", ["", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Ã©"])
    async def test_are_not_for_bearers_of_others(self, header: str) -> None:
        """Whatever the header holds, the answer is the brief one."""
        async with open_stand(token=TOKEN) as stand:
            answer = await ask(stand.http.port, "/health", headers={"Authorization": header})

        assert (200, BRIEF) == (answer.status, set(answer.document()["checks"]["redis"]))


class TestThisInstance:
    async def test_starts(self) -> None:
        """Alive, neither started nor ready, and nothing is known of the suite."""
        async with open_stand(serving=False) as stand:
            answers = [await ask(stand.http.port, path) for path in (*INSTANCE, "/health")]

        assert [200, 503, 503, 503] == [answer.status for answer in answers]
        assert "The first round of probes is under way." == answers[1].document()["message"]
        assert "2" == answers[2].headers["retry-after"]

    async def test_is_ready_whatever_its_targets_do(self, stand: Stand) -> None:
        """It can say that all is lost, and that makes it ready."""
        stand.see(State.UNHEALTHY)

        assert [200, 200, 200, 503] == await statuses(stand, *INSTANCE, "/health")

    @pytest.mark.parametrize("status", [503, 404])
    async def test_drains(self, status: int) -> None:
        """Alive and started for ever, not ready under the status that was chosen."""
        async with open_stand(drain_status=status) as stand:
            await stand.drain()
            answer = await ask(stand.http.port, "/readyz")
            found = await statuses(stand, *INSTANCE)

        assert [200, status, 200] == found
        assert "This instance is draining." == answer.document()["message"]
        assert ("retry-after" in answer.headers) == (status == 503)

    async def test_still_tells_of_others_while_it_drains(self, stand: Stand) -> None:
        """Who asks it about the cache is not about to send it traffic."""
        stand.see(State.UNHEALTHY, ONE)
        await stand.drain()
        found = await statuses(stand, "/readyz/cache", f"/readyz/{ONE.name}", "/health")

        assert [200, 503, 200] == found

    async def test_is_stalled_when_no_probe_ends(self, stand: Stand) -> None:
        """It knows nothing any more; another instance may."""
        stand.see(State.HEALTHY, age=3600)
        answer = await ask(stand.http.port, "/readyz")

        assert 503 == answer.status
        assert answer.document()["message"].startswith("No probe has ended for 3600")

    async def test_is_not_stalled_by_what_is_new(self, stand: Stand) -> None:
        """A replica that was found and not probed yet makes nobody start again."""
        snapshot = stand.prober.snapshot
        stand.prober.snapshot = snapshot.with_replicas("cache", (ONE, OTHER, REDIS))

        assert [200, 200, 200] == await statuses(stand, *INSTANCE)


class TestReadinessOfANameIsItsVerdict:
    @pytest.mark.parametrize("name", ["cache", ONE.name, "edge", "suite", "cache%2F10.0.0.7:50051"])
    async def test_healthy(self, stand: Stand, name: str) -> None:
        """Targets, replicas, groups and the whole, by name."""
        answer = await ask(stand.http.port, f"/readyz/{name}")

        assert (200, "healthy", "up") == (
            answer.status,
            answer.document()["status"],
            answer.document()["advice"],
        )
        assert "x-envoy-degraded" not in answer.headers

    async def test_degraded(self, stand: Stand) -> None:
        """Up, as a last resort."""
        stand.see(State.UNHEALTHY, REDIS)
        answer = await ask(stand.http.port, "/readyz/edge")

        assert (200, True) == (answer.status, "x-envoy-degraded" in answer.headers)

    async def test_one_replica_is_down(self, stand: Stand) -> None:
        """It is out, and the others serve on."""
        stand.see(State.UNHEALTHY, ONE)
        found = await statuses(
            stand, f"/readyz/{ONE.name}", f"/readyz/{OTHER.name}", "/readyz/cache"
        )

        assert [503, 200, 200] == found

    async def test_all_replicas_look_sick(self, stand: Stand) -> None:
        """The fault is rarely theirs: each stays in, and the service is told for what it is."""
        stand.see(State.UNHEALTHY, ONE, OTHER)
        answer = await ask(stand.http.port, f"/readyz/{ONE.name}")
        whole = await ask(stand.http.port, "/readyz/cache")

        assert (200, True, 503) == (answer.status, answer.document()["open"], whole.status)

    @pytest.mark.parametrize(
        ("mode", "drain_status", "expected"),
        [
            (Mode.DRAIN, 503, 503),
            (Mode.DRAIN, 404, 404),
            (Mode.MAINTENANCE, 503, 503),
            (Mode.MAINTENANCE, 404, 503),
        ],
    )
    async def test_out_of_service(self, mode: Mode, drain_status: int, expected: int) -> None:
        """Only a drain may look like one."""
        async with open_stand(drain_status=drain_status) as stand:
            stand.take_out("cache", mode)
            found = await statuses(stand, "/readyz/cache", "/readyz/edge", f"/readyz/{ONE.name}")
            stand.bring_back()
            back = await statuses(stand, "/readyz/cache")

        assert ([expected] * 3, [200]) == (found, back)

    @pytest.mark.hostile
    @pytest.mark.parametrize(
        "name", ["nope", "", "cache/", "Cache", "x" * 5000, "%00", "../health"]
    )
    async def test_an_unknown_name_is_neither_healthy_nor_drained(self, name: str) -> None:
        """400: HAProxy with disable-on-404 would take 404 for a drain."""
        async with open_stand(drain_status=404) as stand:
            answer = await ask(stand.http.port, f"/readyz/{name}")

        assert (400, "application/health+json") == (answer.status, answer.headers["content-type"])
        assert len(answer.body) < 300


class TestMethodsAndVersions:
    @pytest.mark.parametrize("path", ["/health", "/api/health", *INSTANCE, "/readyz/cache"])
    async def test_say_the_same(self, stand: Stand, path: str) -> None:
        """GET, HEAD and OPTIONS, HTTP/1.0 and 1.1, with a Host header and without."""
        answers = [
            await ask(stand.http.port, path, method=method, version=version, host=host)
            for method in ("GET", "HEAD", "OPTIONS")
            for version, host in (("1.0", None), ("1.0", "health"), ("1.1", "health"))
        ]

        assert {200} == {answer.status for answer in answers}
        for name in ("cache-control", "content-type", "content-length"):
            assert 1 == len({answer.headers[name] for answer in answers})
        assert {True, False} == {bool(answer.body) for answer in answers}
        assert [b""] * 3 == [answer.body for answer in answers[3:6]]

    async def test_what_haproxy_asks_by_default(self) -> None:
        """OPTIONS of the root, without a Host header, is the readiness of this instance."""
        async with open_stand(serving=False) as stand:
            before = await send(stand.http.port, b"OPTIONS / HTTP/1.0\r\n\r\n")
            stand.see(State.HEALTHY)
            await stand.serve()
            serving = await send(stand.http.port, b"OPTIONS / HTTP/1.0\r\n\r\n")
            await stand.drain()
            draining = await send(stand.http.port, b"OPTIONS / HTTP/1.0\r\n\r\n")

        assert [503, 200, 503] == [before.status, serving.status, draining.status]

    async def test_http_1_1_without_a_host_is_answered(self, stand: Stand) -> None:
        """A poller that is sloppy about it is told the truth all the same."""
        answer = await send(stand.http.port, b"GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n")

        assert answer.status == 200

    async def test_nothing_is_redirected(self, stand: Stand) -> None:
        """Several pollers take a redirect for health."""
        found = await statuses(stand, "/health/", "/livez/", "/nothing", "//health")

        assert [404] * 4 == found

    async def test_there_is_nothing_to_post(self, stand: Stand) -> None:
        """Asking changes nothing."""
        answer = await ask(stand.http.port, "/health", method="POST")

        assert (405, "application/health+json") == (answer.status, answer.headers["content-type"])


class TestKeepAlive:
    async def test_many_questions_on_one_connection(self, stand: Stand) -> None:
        """Each is answered with what holds when it is asked."""
        reader, writer = await asyncio.open_connection("127.0.0.1", stand.http.port)
        found = []
        async with asyncio.timeout(10):
            for state in (State.HEALTHY, State.UNHEALTHY, State.HEALTHY):
                stand.see(state, ONE, OTHER)
                writer.write(b"GET /health HTTP/1.1\r\nHost: health\r\n\r\n")
                found.append(await read_answer(reader))
        writer.close()
        await writer.wait_closed()

        assert [(200, "healthy"), (503, "unhealthy"), (200, "healthy")] == [
            (answer.status, answer.document()["status"]) for answer in found
        ]
