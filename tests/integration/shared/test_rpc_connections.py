"""How many connections a server holds."""

import asyncio

import pytest

from tests.integration.shared.probe import probe_service

MOST = 10
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


async def is_greeted(address: str, opened: list[asyncio.StreamWriter]) -> bool:
    """Connect and tell whether the server says something or hangs up."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    opened.append(writer)
    writer.write(HELLO)
    try:
        async with asyncio.timeout(10):
            return bool(await reader.read(9))
    except ConnectionError:
        return False


class TestConnections:
    async def test_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next one is hung up on at once; who is connected goes on, and there is room again."""
        monkeypatch.setattr("shared.rpc.server.MAX_CONNECTIONS", MOST)
        opened: list[asyncio.StreamWriter] = []
        async with probe_service() as probe:
            await probe.get("none")  # its channel is one of them
            greeted = [await is_greeted(probe.service.address, opened) for _ in range(MOST + 5)]
            await probe.get("none")
            opened[0].transport.abort()
            async with asyncio.timeout(10):
                while not await is_greeted(probe.service.address, opened):
                    pass
            for writer in opened:
                writer.transport.abort()

        assert MOST - 1 == greeted.count(True)
        assert not any(greeted[MOST:])
