"""The frame: its bytes never change, newer ones are read, and nothing else is."""

import struct

import pytest

from services.cache.entry import Entry, Kind, MissReason
from services.cache.frame import FORMAT, LATEST_MS, Header, decode, decode_header, encode

ENTRY = Entry(
    value=b"\x00value\xff",
    content_type="image/png",
    version=0x0102030405060708,
    create_ms=1_700_000_000_123,
    soft_expiry_ms=1_700_000_030_123,
    expiry_ms=1_700_000_060_123,
    stamp=1_700_000_000_000_001,
    tags=("video:42", "ä"),
    ttl_class="video_metadata",
    compute_ms=250,
    charged=512,
    last_miss=MissReason.TAG,
    near=True,
)
FIXED_BYTES = 57
VARIABLE_BYTES = len("video_metadata") + len("image/png") + 1 + len("video:42") + 1 + 2


class TestLayout:
    def test_bytes_are_those_that_older_replicas_wrote(self) -> None:
        """A change of the layout would make every entry of a running cache unreadable."""
        golden = bytes.fromhex(
            "c1 11 5c00 0807060504030201 7b68e5cf8b010000 abdde5cf8b010000"
            " db52e6cf8b010000 01401e18240a0600 fa000000 00020000 00 06 0e 09 02"
            " 766964656f5f6d65746164617461 696d6167652f706e67"
            " 08 766964656f3a3432 02 c3a4 0076616c7565ff"
        )

        assert golden.hex() == encode(ENTRY).hex()

    def test_what_was_encoded_is_decoded(self) -> None:
        """Every field comes back."""
        assert ENTRY == decode(encode(ENTRY))

    def test_what_an_entry_has_not_costs_nothing(self) -> None:
        """No end, no type, no class and no tags: the fixed part and the value."""
        entry = ENTRY._replace(
            content_type="", soft_expiry_ms=None, expiry_ms=None, tags=(), ttl_class=""
        )

        assert FIXED_BYTES + len(entry.value) == len(encode(entry))
        assert entry == decode(encode(entry))


class TestNewerFrames:
    def test_fields_after_the_known_header_are_skipped(self) -> None:
        """A replica that is still on this version reads entries of the next."""
        frame = encode(ENTRY)
        header_length = FIXED_BYTES + VARIABLE_BYTES
        newer = b"what is to come"
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
        assert ENTRY == decode(_with_byte(1, 0x91))

    @pytest.mark.parametrize("flag", [0x00, 0x03, 0x05, 0x09])
    def test_a_flag_that_must_be_understood_is_a_miss(self, flag: int) -> None:
        """Neither a compressed value nor one without a stamp is given out as if it were whole."""
        assert decode(_with_byte(1, flag)) is None


class TestHeader:
    def test_the_first_bytes_tell_what_was_replaced(self) -> None:
        """A write learns from them what to take from the books, and whom to tell."""
        header = Header(ENTRY.version, ENTRY.create_ms, ENTRY.expiry_ms, 512, Kind.VALUE, near=True)

        assert header == decode_header(encode(ENTRY)[:FIXED_BYTES])

    @pytest.mark.parametrize("start", [None, b"", b"plain text" * 9, encode(ENTRY)[:56]])
    def test_what_is_no_frame_has_none(self, start: bytes | None) -> None:
        """Nobody is charged for what another program wrote."""
        assert decode_header(start) is None


class TestUnreadable:
    @pytest.mark.parametrize(
        "frame",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b'{"plan": "pro", "since": "2024-01-01", "seats": 3}', id="json"),
            pytest.param(encode(ENTRY)[: FIXED_BYTES - 1], id="cut in the header"),
            pytest.param(encode(ENTRY)[: FIXED_BYTES + 3], id="cut in the class"),
        ],
    )
    def test_foreign_or_broken_bytes_are_a_miss(self, frame: bytes) -> None:
        """What is not a frame is None, not an exception."""
        assert decode(frame) is None

    @pytest.mark.parametrize(
        ("offset", "packed"),
        [
            pytest.param(0, bytes([FORMAT ^ 1]), id="format"),
            pytest.param(2, struct.pack("<H", FIXED_BYTES), id="header ends inside the class"),
            pytest.param(2, struct.pack("<H", FIXED_BYTES + 30), id="header ends inside a tag"),
            pytest.param(52, bytes([len(Kind)]), id="kind"),
            pytest.param(56, b"\x03", id="more tags than there are"),
            pytest.param(FIXED_BYTES + VARIABLE_BYTES - 1, b"\xff", id="tag"),
            pytest.param(2, struct.pack("<H", 0xFFFF), id="header longer than the frame"),
            pytest.param(12, struct.pack("<Q", LATEST_MS + 1), id="create time"),
            pytest.param(20, struct.pack("<Q", LATEST_MS + 1), id="soft expiry"),
            pytest.param(28, struct.pack("<Q", LATEST_MS + 1), id="expiry"),
            pytest.param(FIXED_BYTES, b"\xff", id="class"),
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
