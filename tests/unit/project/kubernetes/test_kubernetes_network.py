"""Who may reach whom in deploy/kubernetes, and by which names."""

import pytest

from shared.process_settings import PREFIX
from tests.unit.project.kubernetes import manifests as kubernetes
from tests.unit.project.kubernetes.manifests import Manifest, Manifests, Workload


class TestNetwork:
    def test_what_nobody_allows_is_refused(self, manifests: Manifests) -> None:
        """In both directions, for every pod there is and will be."""
        refused = [
            each["spec"]["policyTypes"]
            for each in kubernetes.of_kind(manifests, "NetworkPolicy")
            if each["spec"]["podSelector"] == {} and not {"ingress", "egress"} & set(each["spec"])
        ]

        assert [["Ingress", "Egress"]] == refused

    def test_everything_has_a_policy_of_its_own(self, manifests: Manifests) -> None:
        """Who may reach it is written beside it."""
        for workload in kubernetes.lasting(manifests):
            assert list(kubernetes.admitted(manifests, workload, "ingress")), workload.name

    def test_nobody_is_let_in_from_everywhere(self, manifests: Manifests) -> None:
        """Each rule names who, and ports that are open."""
        for workload in kubernetes.lasting(manifests):
            for peers, ports in kubernetes.admitted(manifests, workload, "ingress"):
                assert peers
                assert {} not in peers
                assert ports <= set(workload.ports.values())

    def test_metrics_are_for_those_who_scrape(self, manifests: Manifests) -> None:
        """Callers do not reach the operations port, and Prometheus reaches nothing else."""
        for workload in kubernetes.services(manifests):
            for peers, ports in kubernetes.admitted(manifests, workload, "ingress"):
                scrapers = any("mainstay-metrics" in str(each) for each in peers)

                assert scrapers == (workload.ports["operations"] in ports)
                assert not scrapers or len(peers) == len(ports) == 1

    def test_those_who_are_told_of_each_other_may_talk(self, manifests: Manifests) -> None:
        """Every address of a service in a manifest is open on both ends, and nothing else is."""
        by_name = {each.name: each for each in kubernetes.services(manifests)}
        told = {
            (caller.name, address.partition(":")[0].removesuffix("-replicas"))
            for caller in by_name.values()
            for name, address in caller.variables.items()
            if name.endswith("_ADDRESS")
        }
        out = {
            (caller.name, called.name)
            for caller in by_name.values()
            for called in by_name.values()
            for peers, ports in kubernetes.admitted(manifests, caller, "egress")
            if called.ports["grpc"] in ports and _names(peers, called)
        }
        into = {
            (caller.name, called.name)
            for caller in by_name.values()
            for called in by_name.values()
            for peers, ports in kubernetes.admitted(manifests, called, "ingress")
            if called.ports["grpc"] in ports and _names(peers, caller)
        }

        assert {
            ("ratelimit", "cache"),
            ("ratelimit", "jobs"),
            ("jobs", "ratelimit"),
            ("health", "cache"),
            ("health", "ratelimit"),
            ("health", "jobs"),
        } == told
        assert told == out
        assert told == into

    @pytest.mark.parametrize(("store", "port"), [("redis", 6379), ("postgres", 5432)])
    def test_stores_are_reached_by_those_who_know_their_address(
        self, store: str, port: int, manifests: Manifests
    ) -> None:
        """The jobs service and the migrations have nothing to do with Redis."""
        variable = f"{PREFIX}{store.upper()}_URL"
        for workload in kubernetes.workloads(manifests):
            if workload.name in {"redis", "postgres"}:
                continue
            reaches = any(
                port in ports for _, ports in kubernetes.admitted(manifests, workload, "egress")
            )

            assert (variable in workload.references) == reaches, workload.name

    def test_migrations_run_as_the_owner_and_services_do_not(self, manifests: Manifests) -> None:
        """What a service runs as cannot change the schema."""
        url = f"{PREFIX}POSTGRES_URL"
        owners = {
            each.name
            for each in kubernetes.workloads(manifests)
            if each.references.get(url) == "mainstay-postgres-owner/url"
        }

        assert {"migrate"} == owners


class TestNames:
    def test_each_leads_to_pods(self, manifests: Manifests) -> None:
        """A Service selects one workload and ports that it has."""
        for service in kubernetes.of_kind(manifests, "Service"):
            (workload,) = (
                each
                for each in kubernetes.lasting(manifests)
                if kubernetes.selects({"matchLabels": service["spec"]["selector"]}, each)
            )
            for port in service["spec"]["ports"]:
                assert port["port"] == workload.ports[port["targetPort"]]

    def test_addresses_are_names_that_exist(self, manifests: Manifests) -> None:
        """Headless ones: behind them is every replica, for balancing and for health."""
        headless = {
            each["metadata"]["name"]: {port["port"] for port in each["spec"]["ports"]}
            for each in kubernetes.of_kind(manifests, "Service")
            if each["spec"].get("clusterIP") == "None"
        }
        for workload in kubernetes.services(manifests):
            for name, address in workload.variables.items():
                if name.endswith("_ADDRESS"):
                    host, _, port = address.partition(":")
                    assert int(port) in headless[host]

    def test_health_sees_those_that_are_not_ready(self, manifests: Manifests) -> None:
        """A sick replica that has left the name would be a replica that never was."""
        for service in kubernetes.of_kind(manifests, "Service"):
            name = service["metadata"]["name"]

            assert name.endswith("-replicas") == service["spec"].get(
                "publishNotReadyAddresses", False
            )


def _names(peers: list[Manifest], workload: Workload) -> bool:
    """Return whether a rule names a workload of the same namespace."""
    return any(
        "namespaceSelector" not in each
        and "podSelector" in each
        and kubernetes.selects(each["podSelector"], workload)
        for each in peers
    )
