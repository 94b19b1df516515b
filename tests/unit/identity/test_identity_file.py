"""Which certificate is which principal: the file, its mistakes, and the names it is asked for."""

from pathlib import Path

import pytest

from mainstay.errors import ConfigurationError
from shared.identity.mtls import CertificateIdentities, CertificateName, names_in, parse_identities
from shared.identity.principal import Principal
from shared.identity.scopes import SCOPES
from shared.rpc.call import Tenant

GOOD = """\
identities:
  - uri: spiffe://example.org/billing
    name: billing
    tenant: acme
    scopes: [cache:read, jobs:send]
  - dns: ops.example.org
    name: ops
    tenant: "*"
    scopes: ["*"]
  - common_name: old-client
    name: old
    tenant: acme
    scopes: [cache:*]
"""
BAD = """\
identities:
  - uri: spiffe://example.org/a
    dns: a.example.org
    name: a
    tenant: acme
    scopes: [cache:read]
  - dns: "*.example.org"
    name: mainstay
    tenant: two words
    scopes: [cache:fly]
  - name: c
    scopes: []
  - dns: d.example.org
    name: d
    tenant: acme
    scopes: [cache:read]
    extra: yes
  - dns: d.example.org
    name: e
    tenant: acme
    scopes: [cache:read]
"""


class TestTheFile:
    def test_says_who_has_which_name(self) -> None:
        """By URI, DNS name and common name; wildcards of scopes are expanded."""
        found = parse_identities(GOOD, "identities.yaml")

        assert 3 == len(found)
        assert found[CertificateName("uri", "spiffe://example.org/billing")] == Principal(
            name="billing",
            tenant=Tenant("acme"),
            scopes=frozenset({"cache:read", "jobs:send"}),
            proof="mtls",
        )
        assert SCOPES == found[CertificateName("dns", "ops.example.org")].scopes

    def test_is_refused_with_every_mistake_and_its_line(self) -> None:
        """At once: nobody should have to correct them one by one."""
        with pytest.raises(ConfigurationError) as caught:
            parse_identities(BAD, "identities.yaml")

        first, *lines = caught.value.message.splitlines()
        assert "the file of identities identities.yaml is refused:" == first
        expected = [
            "line 2: identities[0] should have one of uri, dns, common_name",
            "line 7: identities[1].dns is a pattern",
            "line 8: identities[1].name should be 1 to 128",
            'line 9: identities[1].tenant should be "*" for all',
            "line 10: identities[1].scopes has 'cache:fly' is no scope",
            "line 11: identities[2] should have one of uri, dns, common_name",
            "line 11: identities[2].tenant is missing",
            "line 12: identities[2].scopes is not a list",
            "line 17: identities[3].extra is not known here",
            "line 18: identities[4] names the certificate d.example.org",
        ]
        pairs = zip(lines, expected, strict=True)
        assert expected == [line.strip()[: len(begin)] for line, begin in pairs]

    def test_that_is_missing_says_which_setting_names_it(self, tmp_path: Path) -> None:
        """Not that of the policies."""
        with pytest.raises(ConfigurationError, match="point MAINSTAY_AUTH_IDENTITIES to it"):
            CertificateIdentities(tmp_path / "none.yaml")

    async def test_is_read_again_when_it_changes(self, tmp_path: Path) -> None:
        """Once it reads the same at two looks; one with a mistake changes nothing."""
        path = tmp_path / "identities.yaml"
        path.write_text(GOOD)
        identities = CertificateIdentities(path)
        shown = {"x509_common_name": [b"old-client"]}
        before = identities.known(shown)
        path.write_text(BAD)
        refused = [await identities.look() for _ in range(2)]
        with_mistakes = identities.known(shown)
        path.write_text(GOOD.replace("name: old\n", "name: renamed\n"))
        taken = [await identities.look() for _ in range(2)]
        after = identities.known(shown)

        assert ([False, False], [False, True]) == (refused, taken)
        assert before is not None
        assert (before, "renamed") == (with_mistakes, after and after.name)


class TestNames:
    def test_count_from_the_one_that_says_most(self, tmp_path: Path) -> None:
        """URIs, then DNS names, then the common name; those not listed are passed over."""
        path = tmp_path / "identities.yaml"
        path.write_text(GOOD)
        found = CertificateIdentities(path).known(
            {
                "x509_common_name": [b"old-client"],
                "peer_dns": [b"unknown.example.org", b"ops.example.org"],
            }
        )

        assert "ops" == (found and found.name)

    def test_of_one_kind_are_not_taken_for_another(self, tmp_path: Path) -> None:
        """Whoever may choose a common name must not become a URI by it."""
        path = tmp_path / "identities.yaml"
        path.write_text(GOOD)
        found = CertificateIdentities(path).known(
            {
                "x509_common_name": [b"spiffe://example.org/billing", b"ops.example.org"],
                "peer_dns": [b"old-client"],
            }
        )

        assert found is None

    def test_that_are_no_text_are_nobodys(self) -> None:
        """They are read as something, and never an error."""
        assert [CertificateName("dns", "a\ufffd")] == names_in({"peer_dns": [b"a\xff"]})
