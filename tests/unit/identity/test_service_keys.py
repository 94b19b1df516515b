"""The secrets by which the services of the suite know each other."""

import hmac
from unittest.mock import patch

import pytest

from shared.identity.service_keys import SERVICE, ServiceKeys

NEW, OLD = "n" * 32, "o" * 32


class TestServiceKeys:
    @pytest.mark.parametrize("secret", [NEW, OLD])
    def test_are_all_good_while_they_are_changed(self, secret: str) -> None:
        """The one that is sent, and the one that others may still send."""
        assert SERVICE is ServiceKeys([NEW, OLD]).known(secret)

    @pytest.mark.parametrize("token", ["", "n" * 31, "n" * 33, f"{NEW},{OLD}", "\udcff", "ä" * 32])
    def test_are_nothing_else(self, token: str) -> None:
        """Of any length and any characters."""
        assert ServiceKeys([NEW, OLD]).known(token) is None

    def test_are_compared_in_a_time_that_tells_nothing(self) -> None:
        """Each of them by its digest, also after one was found."""
        with patch.object(hmac, "compare_digest", wraps=hmac.compare_digest) as compared:
            ServiceKeys([NEW, OLD]).known(NEW)

        assert [32, 32] == [len(call.args[0]) for call in compared.call_args_list]

    def test_let_nobody_administer(self) -> None:
        """What the services need of each other, in every tenant."""
        assert ("mainstay", "*", "service") == (SERVICE.name, SERVICE.tenant, SERVICE.proof)
        assert not {scope for scope in SERVICE.scopes if scope.endswith(":admin")}

    def test_are_in_no_repr(self) -> None:
        """Nor are their digests."""
        assert NEW not in repr(ServiceKeys([NEW])) + repr(vars(ServiceKeys([NEW])))
