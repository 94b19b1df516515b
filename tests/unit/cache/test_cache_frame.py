"""The frame: its bytes never change, newer ones are read, and nothing else is."""

import struct
from dataclasses import replace

import pytest

from services.cache.entry import Entry
from services.cache.frame import FORMAT, LATEST_MS, decode, encode

ENTRY = Entry(
    value=b"\x00value\xff",
    content_type="image/png",
    version=0x0102030405060708,
    create_ms=1_700_000_000_123,
    soft_expiry_ms=1_700_000_030_123,
    expiry_ms=1_700_000_060_123,
)
FIXED_BYTES = 37


class TestLayout:
    def test_bytes_are_those_that_older_replicas_wrote(self) -> None:
        """A change of the layout would make every entry of a running cache unreadable."""
        golden = bytes.fromhex(
            "c1 00 2e00 0807060504030201 7b68e5cf8b010000 abdde5cf8b010000"
            " db52e6cf8b010000 09 696d6167652f706e67 00 76616c7565 ff"
        )

        assert golden.hex() == encode(ENTRY).hex()

    def test_what_was_encoded_is_decoded(self) -> None:
        """Every field comes back."""
        assert ENTRY == decode(encode(ENTRY))

    def test_an_entry_without_end_and_type_is_as_short_as_its_value(self) -> None:
        """Neither an absent expiry nor an empty content type costs a byte."""
        entry = replace(ENTRY, content_type="", soft_expiry_ms=None, expiry_ms=None)

        assert FIXED_BYTES + len(entry.value) == len(encode(entry))
        assert entry == decode(encode(entry))


class TestNewerFrames:
    def test_fields_after_the_known_header_are_skipped(self) -> None:
        """A replica that is still on this version reads entries of the next."""
        frame = encode(ENTRY)
        header_length = FIXED_BYTES + len("image/png")
        newer = b"tags and epochs"
        extended = b"".join(
            (
                frame[:2],
                struct.pack("<H", header_length + len(newer)),
                frame[4:header_length],
                newer,
                frame[header_length:],
            )
        )

        assert ENTRY == decode(extended)

    def test_a_flag_that_may_be_ignored_is_ignored(self) -> None:
        """The upper half of the flags is for what older readers need not know."""
        assert ENTRY == decode(_with_byte(1, 0x80))

    @pytest.mark.parametrize("flag", [0x01, 0x02, 0x04, 0x08])
    def test_a_flag_that_must_be_understood_is_a_miss(self, flag: int) -> None:
        """A compressed value must not be given out as if it were plain."""
        assert decode(_with_byte(1, flag)) is None


class TestUnreadable:
    @pytest.mark.parametrize(
        "frame",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b'{"plan": "pro", "since": "2024-01-01", "seats": 3}', id="json"),
            pytest.param(encode(ENTRY)[: FIXED_BYTES - 1], id="cut in the header"),
            pytest.param(encode(ENTRY)[: FIXED_BYTES + 3], id="cut in the content type"),
        ],
    )
    def test_foreign_or_broken_bytes_are_a_miss(self, frame: bytes) -> None:
        """What is not a frame is None, not an exception."""
        assert decode(frame) is None

    @pytest.mark.parametrize(
        ("offset", "packed"),
        [
            pytest.param(0, bytes([FORMAT ^ 1]), id="format"),
            pytest.param(2, struct.pack("<H", FIXED_BYTES), id="header ends inside the type"),
            pytest.param(2, struct.pack("<H", 0xFFFF), id="header longer than the frame"),
            pytest.param(12, struct.pack("<Q", LATEST_MS + 1), id="create time"),
            pytest.param(20, struct.pack("<Q", LATEST_MS + 1), id="soft expiry"),
            pytest.param(28, struct.pack("<Q", LATEST_MS + 1), id="expiry"),
            pytest.param(37, b"\xff", id="content type"),
        ],
    )
    def test_a_header_that_contradicts_itself_is_a_miss(self, offset: int, packed: bytes) -> None:
        """No field can make a response that protobuf would refuse to carry."""
        frame = bytearray(encode(ENTRY))
        frame[offset : offset + len(packed)] = packed

        assert decode(bytes(frame)) is None


def _with_byte(offset: int, value: int) -> bytes:
    frame = bytearray(encode(ENTRY))
    frame[offset] = value
    return bytes(frame)
