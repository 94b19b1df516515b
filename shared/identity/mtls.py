"""Which client certificate is which principal: a file of identities, followed while it changes.

::

    identities:
      - uri: spiffe://example.org/billing     # or `dns:`, or `common_name:`
        name: billing
        tenant: acme                          # or "*"
        scopes: [cache:*, jobs:send]

That a certificate is of a CA we trust is TLS's to check; who it is, is this file's to say.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import yaml
from prometheus_client import Gauge

from shared.identity.grants import is_name, tenant_named
from shared.identity.principal import Principal
from shared.identity.scopes import expand
from shared.policy_file import PolicyReader
from shared.policy_watch import INTERVAL, PolicyWatch
from shared.rpc.call import ALL_TENANTS, Tenant

WHAT = "file of identities"
MAX_IDENTITIES = 10_000

Kind = Literal["uri", "dns", "common_name"]
# From what says most to what says least: a certificate is the first of its names that is listed.
_PROPERTIES: tuple[tuple[str, Kind], ...] = (
    ("peer_uri", "uri"),
    ("peer_dns", "dns"),
    ("x509_common_name", "common_name"),
)
_KINDS: tuple[Kind, ...] = tuple(kind for _, kind in _PROPERTIES)

broken = Gauge(
    "mainstay_identity_file_broken",
    "1 while the file of identities cannot be used, and the last good one is in force.",
)


class CertificateName(NamedTuple):
    """A name that a certificate has."""

    kind: Kind
    value: str


Identities = Mapping[CertificateName, Principal]
Properties = Mapping[str, Iterable[bytes]]
"""Of a connection, as grpcio gives them."""


def names_in(properties: Properties) -> list[CertificateName]:
    """Return the names of the certificate of a connection; none without one."""
    return [
        CertificateName(kind, value.decode("utf-8", "replace"))
        for property_name, kind in _PROPERTIES
        for value in properties.get(property_name, ())
    ]


def parse_identities(text: str, source: str) -> Identities:
    """Return the identities of a file; raises ConfigurationError with all mistakes."""
    reader = PolicyReader()
    root = reader.document(text)
    fields = reader.fields(root, "", required=("identities",))
    identities: dict[CertificateName, Principal] = {}
    if (listed := fields.get("identities")) is not None:
        for number, node in enumerate(reader.items(listed, "identities")):
            _add(reader, node, f"identities[{number}]", identities)
        if len(identities) > MAX_IDENTITIES:
            reader.note(listed, "identities", f"are too many; list at most {MAX_IDENTITIES:,}")
    reader.check(WHAT, source)
    return identities


def _add(
    reader: PolicyReader,
    node: yaml.Node,
    path: str,
    identities: dict[CertificateName, Principal],
) -> None:
    fields = reader.fields(node, path, required=("name", "tenant", "scopes"), optional=_KINDS)
    certificate = _certificate(reader, node, path, fields)
    principal = Principal(
        name=_name(reader, fields.get("name"), f"{path}.name"),
        tenant=_tenant(reader, fields.get("tenant"), f"{path}.tenant"),
        scopes=_scopes(reader, fields.get("scopes"), f"{path}.scopes"),
        proof="mtls",
    )
    if certificate is not None and identities.setdefault(certificate, principal) is not principal:
        what = f"names the certificate {certificate.value}, which is listed above; keep one"
        reader.note(node, path, what)


def _certificate(
    reader: PolicyReader, node: yaml.Node, path: str, fields: Mapping[str, yaml.Node]
) -> CertificateName | None:
    named = [kind for kind in _KINDS if kind in fields]
    if len(named) != 1:
        reader.note(node, path, f"should have one of {', '.join(_KINDS)}")
        return None
    value = reader.text(fields[named[0]])
    if not value or not value.isprintable():
        reader.note(fields[named[0]], f"{path}.{named[0]}", "is not a name of a certificate")
    if named[0] == "dns" and "*" in value:
        reader.note(fields["dns"], f"{path}.dns", "is a pattern; identities are whole names")
    return CertificateName(named[0], value)


def _name(reader: PolicyReader, node: yaml.Node | None, path: str) -> str:
    text = "" if node is None else reader.text(node)
    if node is not None and not is_name(text):
        reader.note(
            node, path, "should be 1 to 128 printable characters, not anonymous or mainstay"
        )
    return text


def _tenant(reader: PolicyReader, node: yaml.Node | None, path: str) -> Tenant:
    tenant = None if node is None else tenant_named(reader.text(node))
    if node is not None and tenant is None:
        reader.note(
            node,
            path,
            'should be "*" for all, or 1 to 64 letters, digits, dots, dashes and underscores',
        )
    return tenant or ALL_TENANTS


def _scopes(reader: PolicyReader, node: yaml.Node | None, path: str) -> frozenset[str]:
    scopes: set[str] = set()
    items: Sequence[yaml.Node] = () if node is None else reader.items(node, path)
    for item in items:
        try:
            scopes |= expand((reader.text(item),))
        except ValueError as error:
            reader.note(item, path, f"has {error}")
    return frozenset(scopes)


class CertificateIdentities:
    """Knows whose certificates are, by the file as it is now; the last good one stays in force."""

    def __init__(self, path: Path, *, interval: float = INTERVAL) -> None:
        """Read the file; raises ConfigurationError when it is not fit to begin with."""
        self._watch: PolicyWatch[Identities] = PolicyWatch(
            path,
            what=WHAT,
            parse=parse_identities,
            broken=broken,
            way_out="create it, or point MAINSTAY_AUTH_IDENTITIES to it",
            interval=interval,
        )

    async def run(self) -> None:
        """Follow the file; for a background task."""
        await self._watch.watch()

    async def look(self) -> bool:
        """Look at the file once; returns whether there are other identities now."""
        return await self._watch.run_once()

    def known(self, properties: Properties) -> Principal | None:
        """Return whose the certificate of a connection is; None without, and for one not listed."""
        identities = self._watch.current
        for name in names_in(properties):
            if (found := identities.get(name)) is not None:
                return found
        return None
