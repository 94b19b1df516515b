"""Certificates for the tests of TLS."""

from pathlib import Path

import pytest

from tests.integration.tls.certificates import Certificates


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """Make the CA that everybody trusts."""
    return Certificates(tmp_path / "certificates")


@pytest.fixture
def others(tmp_path: Path) -> Certificates:
    """Make a CA that nobody trusts."""
    return Certificates(tmp_path / "others")
