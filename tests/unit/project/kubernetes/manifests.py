"""The manifests of deploy/kubernetes as they would be applied."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[4]
FOLDER = REPOSITORY / "deploy" / "kubernetes"
OVERLAYS = ("overlays/development", "overlays/production")
SERVICES = ("cache", "ratelimit", "jobs", "health")
NAME = "app.kubernetes.io/name"

Manifest = Mapping[str, Any]
Manifests = tuple[Manifest, ...]


def renderer() -> list[str] | None:
    """Return the command that renders a kustomization, if this machine has one."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


needs_renderer = pytest.mark.skipif(
    renderer() is None and "MAINSTAY_REQUIRE_KUSTOMIZE" not in os.environ,
    reason="neither kubectl nor kustomize is on the PATH",
)


@cache
def rendered(folder: str) -> Manifests:
    """Return what a kustomization of deploy/kubernetes comes to."""
    command = renderer()
    assert command is not None, "neither kubectl nor kustomize is on the PATH"
    done = subprocess.run(
        [*command, str(FOLDER / folder)], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


@cache
def written() -> Manifests:
    """Return what stands in the files of the base, which needs no renderer."""
    return tuple(
        document
        for file in sorted((FOLDER / "base").glob("*.yaml"))
        if file.name != "kustomization.yaml"
        for document in yaml.safe_load_all(file.read_text())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What makes pods: a Deployment, a StatefulSet or a Job."""

    manifest: Manifest

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def kind(self) -> str:
        """What it is."""
        return str(self.manifest["kind"])

    @property
    def labels(self) -> Mapping[str, str]:
        """Those of its pods."""
        labels: Mapping[str, str] = self.manifest["spec"]["template"]["metadata"]["labels"]
        return labels

    @property
    def pod(self) -> Manifest:
        """What its pods are."""
        pod: Manifest = self.manifest["spec"]["template"]["spec"]
        return pod

    @property
    def container(self) -> Manifest:
        """The one container of its pods."""
        (container,) = self.pod["containers"]
        found: Manifest = container
        return found

    @property
    def ports(self) -> Mapping[str, int]:
        """The numbers of its ports by their names."""
        return {each["name"]: each["containerPort"] for each in self.container.get("ports", ())}

    @property
    def variables(self) -> Mapping[str, str]:
        """What its manifest itself says of the environment: values, not references."""
        return {
            each["name"]: each["value"] for each in self.container.get("env", ()) if "value" in each
        }

    @property
    def references(self) -> Mapping[str, str]:
        """Variables that come out of Secrets: each with `secret/key`."""
        return {
            each["name"]: "{name}/{key}".format(**each["valueFrom"]["secretKeyRef"])
            for each in self.container.get("env", ())
            if "valueFrom" in each
        }


def of_kind(manifests: Manifests, *kinds: str) -> list[Manifest]:
    """Return the manifests of some kinds."""
    return [each for each in manifests if each["kind"] in kinds]


def workloads(manifests: Manifests) -> list[Workload]:
    """Return everything that makes pods."""
    found = of_kind(manifests, "Deployment", "StatefulSet", "Job", "CronJob", "DaemonSet")
    return [Workload(manifest=each) for each in found]


def lasting(manifests: Manifests) -> list[Workload]:
    """Return what runs all the time."""
    return [each for each in workloads(manifests) if each.kind != "Job"]


def services(manifests: Manifests) -> list[Workload]:
    """Return the four services of the suite."""
    return [each for each in lasting(manifests) if each.name in SERVICES]


def selects(selector: Mapping[str, Any], workload: Workload) -> bool:
    """Return whether a label selector picks the pods of a workload."""
    wanted = selector.get("matchLabels", {})
    return all(workload.labels.get(key) == value for key, value in wanted.items())


def environment(manifests: Manifests, workload: Workload) -> dict[str, str]:
    """Return the variables that a workload's pods have, but for those out of Secrets."""
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(manifests, "ConfigMap")}
    variables: dict[str, str] = {}
    for source in workload.container.get("envFrom", ()):
        variables |= maps[source["configMapRef"]["name"]]
    return {**variables, **workload.variables}


def admitted(
    manifests: Manifests, workload: Workload, direction: str
) -> Iterator[tuple[list[Manifest], set[int]]]:
    """Yield the peers and ports that policies grant a workload: of `ingress` or `egress`."""
    for policy in of_kind(manifests, "NetworkPolicy"):
        if selects(policy["spec"]["podSelector"], workload):
            for rule in policy["spec"].get(direction, ()):
                peers = rule.get("from" if direction == "ingress" else "to", [])
                yield peers, {port["port"] for port in rule["ports"]}
