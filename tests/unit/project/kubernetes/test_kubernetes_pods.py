"""What the pods of deploy/kubernetes may do, what they find, and how many there are."""

import tomllib
from pathlib import PurePosixPath

from tests.unit.project.kubernetes import manifests as kubernetes
from tests.unit.project.kubernetes.manifests import Manifests, Workload, needs_renderer


class TestPods:
    def test_have_no_more_rights_than_they_need(self, manifests: Manifests) -> None:
        """An ordinary user, a file system that is read, no capability, no token."""
        for workload in kubernetes.workloads(manifests):
            pod, container = workload.pod["securityContext"], workload.container["securityContext"]

            assert pod["runAsNonRoot"]
            assert pod["runAsUser"] > 0
            assert {"type": "RuntimeDefault"} == pod["seccompProfile"]
            assert {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            } == container
            assert workload.pod["automountServiceAccountToken"] is False
            assert workload.pod["enableServiceLinks"] is False

    def test_have_an_account_of_their_own_without_a_token(self, manifests: Manifests) -> None:
        """So that no right is given to all of them with one."""
        accounts = {
            each["metadata"]["name"]: each["automountServiceAccountToken"]
            for each in kubernetes.of_kind(manifests, "ServiceAccount")
        }

        assert {*kubernetes.SERVICES, "migrate"} == set(accounts)
        assert {False} == set(accounts.values())
        for workload in kubernetes.services(manifests):
            assert workload.name == workload.pod["serviceAccountName"]

    def test_run_an_image_that_is_named_exactly(self, manifests: Manifests) -> None:
        """Those of the suite in the version of this tree; never `latest`, never no tag."""
        project = tomllib.loads((kubernetes.REPOSITORY / "pyproject.toml").read_text())
        version = project["project"]["version"]
        for workload in kubernetes.workloads(manifests):
            name, _, tag = workload.container["image"].partition(":")

            assert tag not in {"", "latest"}
            if name.startswith("mainstay/"):
                assert version == tag

    def test_say_what_they_need(self, manifests: Manifests) -> None:
        """And how much memory they may take before they are ended."""
        for workload in kubernetes.workloads(manifests):
            resources = workload.container["resources"]

            assert {"cpu", "memory"} == set(resources["requests"])
            assert {"memory"} == set(resources["limits"])

    def test_are_spread_over_nodes_and_zones(self, manifests: Manifests) -> None:
        """One node that goes takes one replica with it."""
        for workload in kubernetes.services(manifests):
            spread = workload.pod["topologySpreadConstraints"]

            assert {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} == {
                each["topologyKey"] for each in spread
            }
            assert all(kubernetes.selects(each["labelSelector"], workload) for each in spread)

    def test_mount_what_exists(self, manifests: Manifests) -> None:
        """Every mount has its volume, and every volume its mount."""
        for workload in kubernetes.workloads(manifests):
            mounted = {each["name"] for each in workload.container.get("volumeMounts", ())}

            assert {each["name"] for each in workload.pod.get("volumes", ())} == mounted


class TestPolicies:
    def test_are_all_mounted_where_the_service_looks(self, manifests: Manifests) -> None:
        """Each file of policies/ is in the pods of the service that reads it, and in no other."""
        found = {
            path: workload.name
            for workload in kubernetes.services(manifests)
            for path in _policy_files(workload)
        }
        folder = kubernetes.REPOSITORY / "policies"
        events = {f"events/{each.name}": "jobs" for each in (folder / "events").glob("*.json")}
        files = {each.name: each.stem for each in folder.glob("*.yaml")}
        del files["kustomization.yaml"]

        assert {**files, **events} == found

    @needs_renderer
    def test_have_what_the_files_say(self, applied: Manifests) -> None:
        """The ConfigMaps are made of the files themselves."""
        maps = {
            each["metadata"]["name"]: each["data"]
            for each in kubernetes.of_kind(applied, "ConfigMap")
        }
        written = (kubernetes.REPOSITORY / "policies" / "ratelimit.yaml").read_text()

        assert written == maps["mainstay-policies"]["ratelimit.yaml"]


class TestReplicas:
    def test_one_at_a_time_may_be_taken(self, manifests: Manifests) -> None:
        """Whoever drains a node leaves the others of a service where they are."""
        budgets = kubernetes.of_kind(manifests, "PodDisruptionBudget")
        for workload in kubernetes.lasting(manifests):
            found = [
                each["spec"]["maxUnavailable"]
                for each in budgets
                if kubernetes.selects(each["spec"]["selector"], workload)
            ]

            assert [1] == found, workload.name

    def test_are_counted_by_the_autoscaler_or_by_the_manifest(self, manifests: Manifests) -> None:
        """Never by both: to apply the manifest again would undo what the other had decided."""
        scaled = {
            each["spec"]["scaleTargetRef"]["name"]
            for each in kubernetes.of_kind(manifests, "HorizontalPodAutoscaler")
        }
        counted = {
            each.name
            for each in kubernetes.services(manifests)
            if "replicas" in each.manifest["spec"]
        }

        assert {"cache", "ratelimit", "jobs"} == scaled
        assert {"health"} == counted

    def test_are_at_least_two(self) -> None:
        """Where a cluster is for more than one machine."""
        base = kubernetes.written()
        counts = {
            each["metadata"]["name"]: each["spec"]["minReplicas"]
            for each in kubernetes.of_kind(base, "HorizontalPodAutoscaler")
        } | {
            each.name: each.manifest["spec"]["replicas"]
            for each in kubernetes.services(base)
            if "replicas" in each.manifest["spec"]
        }

        assert dict.fromkeys(kubernetes.SERVICES, 2) == counts

    def test_none_is_missed_while_one_is_replaced(self, manifests: Manifests) -> None:
        """A new one is ready before an old one goes."""
        for each in kubernetes.of_kind(manifests, "Deployment"):
            if each["metadata"]["name"] in kubernetes.SERVICES:
                assert {"maxSurge": 1, "maxUnavailable": 0} == each["spec"]["strategy"][
                    "rollingUpdate"
                ]


def _policy_files(workload: Workload) -> list[str]:
    """Return the files that a workload finds in its folder of policies."""
    (mount,) = [
        each for each in workload.container["volumeMounts"] if each["name"] == "policies"
    ] or [{"mountPath": ""}]
    if not mount["mountPath"]:
        return []
    assert PurePosixPath("/etc/mainstay/policies") == PurePosixPath(mount["mountPath"])
    (volume,) = (each for each in workload.pod["volumes"] if each["name"] == "policies")
    sources = volume["projected"]["sources"] if "projected" in volume else [volume]
    return [item["path"] for source in sources for item in source["configMap"]["items"]]
