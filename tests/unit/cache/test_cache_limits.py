"""What the cache accepts and what it says about the rest."""

import pytest

from services.cache import limits


class TestNamespace:
    @pytest.mark.parametrize("namespace", ["v", "video", "user.plan_2-b", "0", "-", "n" * 64])
    def test_accepted(self, namespace: str) -> None:
        """1 to 64 of a-z 0-9 . _ - stand as they are."""
        assert limits.namespace_fault(namespace) is None

    @pytest.mark.parametrize(
        ("namespace", "fault"),
        [
            ("", "has 0 characters; write 1 to 64 of a-z 0-9 . _ -"),
            ("n" * 65, "has 65 characters; write 1 to 64 of a-z 0-9 . _ -"),
            ("Video", "contains 'V'; write only a-z 0-9 . _ -"),
            ("a:b", "contains ':'; write only a-z 0-9 . _ -"),
            ("a{b}c", "contains '{'; write only a-z 0-9 . _ -"),
            ("vidéo", "contains 'é'; write only a-z 0-9 . _ -"),
            ("video\n", "contains '\\n'; write only a-z 0-9 . _ -"),
        ],
    )
    def test_refused(self, namespace: str, fault: str) -> None:
        """The fault names what is wrong and what would be right."""
        assert fault == limits.namespace_fault(namespace)


class TestKey:
    @pytest.mark.parametrize(
        "key",
        [
            "k",
            "user:1:{plan}%7D",
            " spaces are fine ",
            "ключ",
            "no\u00a0break",  # not printable for Python, and no control character
            "zero\u200bwidth",
            "x" * 512,
            "é" * 256,
        ],
    )
    def test_accepted(self, key: str) -> None:
        """Any text of 1 to 512 bytes without control characters."""
        assert limits.key_fault(key) is None

    @pytest.mark.parametrize(
        ("key", "fault"),
        [
            ("", "has 0 bytes; write 1 to 512 bytes of UTF-8"),
            ("x" * 513, "has 513 bytes; write 1 to 512 bytes of UTF-8"),
            ("é" * 257, "has 514 bytes; write 1 to 512 bytes of UTF-8"),
            ("a\nb", "contains the control character U+000A at position 1; leave it out"),
            ("\x00", "contains the control character U+0000 at position 0; leave it out"),
            ("ab\x7f", "contains the control character U+007F at position 2; leave it out"),
            ("a\x85b", "contains the control character U+0085 at position 1; leave it out"),
        ],
    )
    def test_refused(self, key: str, fault: str) -> None:
        """The fault names what is wrong; the key itself stays out of errors and logs."""
        assert fault == limits.key_fault(key)


class TestContentType:
    @pytest.mark.parametrize("content_type", ["", "image/png", "t" * 100])
    def test_accepted(self, content_type: str) -> None:
        """Nothing, or printable ASCII of at most 100 characters."""
        assert limits.content_type_fault(content_type) is None

    @pytest.mark.parametrize("content_type", ["t" * 101, "text/plain\r\nX-Evil: 1", "tëxt/plain"])
    def test_refused(self, content_type: str) -> None:
        """Nothing that could break a header of whoever passes it on."""
        assert limits.content_type_fault(content_type) is not None


class TestTtl:
    @pytest.mark.parametrize("ttl_ms", [1, 366 * 86_400_000])
    def test_accepted(self, ttl_ms: int) -> None:
        """1 millisecond and 366 days are within."""
        assert limits.ttl_fault(ttl_ms) is None

    @pytest.mark.parametrize("ttl_ms", [0, -1, 366 * 86_400_000 + 1])
    def test_refused(self, ttl_ms: int) -> None:
        """A millisecond less or more is not."""
        assert limits.ttl_fault(ttl_ms) is not None
