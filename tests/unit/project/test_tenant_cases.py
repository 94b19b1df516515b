"""Every method has its case in the test of tenants."""

import re
from pathlib import Path

from google.protobuf.descriptor_pool import Default

from tests.integration.tenants.case import Case
from tests.integration.tenants.contract import METHODS
from tests.integration.tenants.registry import REGISTRY

PROTOS = Path(__file__).resolve().parents[3] / "protos"


class TestTheRegistry:
    def test_has_every_method_and_no_other(self) -> None:
        """Who adds a method says how it keeps tenants apart, or why it need not."""
        assert set() == METHODS.keys() ^ REGISTRY.keys()

    def test_knows_every_proto_that_has_a_service(self) -> None:
        """A service in a new file would be looked over."""
        written = {
            str(path.relative_to(PROTOS))
            for path in PROTOS.rglob("*.proto")
            if re.search(r"^service ", path.read_text(), re.MULTILINE)
        }

        assert written == {method.containing_service.file.name for method in METHODS.values()}

    def test_gives_a_reason_where_there_is_no_case(self) -> None:
        """Nothing is left out without a word."""
        silent = [
            name
            for name, entry in REGISTRY.items()
            if not isinstance(entry, Case) and len(entry.reason) < 20
        ]

        assert [] == silent

    def test_looks_at_whole_services(self) -> None:
        """No method of a service that is served is out of the walk."""
        pool = Default()
        files = {method.containing_service.file.name for method in METHODS.values()}
        served = {
            method.full_name
            for name in files
            for service in pool.FindFileByName(name).services_by_name.values()
            for method in service.methods
        }

        assert set() == served ^ METHODS.keys()
