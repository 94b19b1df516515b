"""The frame, for any entry and for any bytes."""

from hypothesis import given
from hypothesis import strategies as st

from services.cache.entry import Entry, Kind, MissReason
from services.cache.frame import FORMAT, LATEST_MS, decode, encode

times = st.integers(min_value=1, max_value=LATEST_MS)
entries = st.builds(
    Entry,
    value=st.binary(max_size=300),
    content_type=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=100),
    version=st.integers(min_value=0, max_value=2**64 - 1),
    create_ms=times,
    soft_expiry_ms=st.none() | times,
    expiry_ms=st.none() | times,
    stamp=st.integers(min_value=0, max_value=2**64 - 1),
    tags=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=16).map(
        tuple
    ),
    ttl_class=st.text("abc_09", max_size=64),
    compute_ms=st.integers(min_value=0, max_value=2**32 - 1),
    charged=st.integers(min_value=0, max_value=2**32 - 1),
    kind=st.sampled_from(Kind),
    last_miss=st.none()
    | st.sampled_from([r for r in MissReason if r is not MissReason.STORE_UNAVAILABLE]),
    near=st.booleans(),
)


class TestFrame:
    @given(entries)
    def test_every_entry_survives(self, entry: Entry) -> None:
        """Decoding undoes encoding."""
        assert entry == decode(encode(entry))

    @given(st.binary(max_size=300), st.booleans())
    def test_no_bytes_raise(self, garbage: bytes, looks_like_a_frame: bool) -> None:
        """Anything is either an entry that can be written again, or None."""
        data = bytes([FORMAT, 1]) + garbage if looks_like_a_frame else garbage

        entry = decode(data)

        assert entry is None or entry == decode(encode(entry))

    @given(entries, st.data())
    def test_no_damaged_frame_raises(self, entry: Entry, data: st.DataObject) -> None:
        """A frame with any one byte changed, or cut anywhere, is read or refused."""
        frame = bytearray(encode(entry))
        position = data.draw(st.integers(min_value=0, max_value=len(frame) - 1))
        frame[position] ^= data.draw(st.integers(min_value=1, max_value=255))
        damaged = bytes(frame[: data.draw(st.integers(min_value=0, max_value=len(frame)))])

        found = decode(damaged)

        assert found is None or found == decode(encode(found))
