"""Compares deploy/kubernetes with the schemas of Kubernetes, of the oldest and newest it knows.

Overlays are rendered by kubectl or kustomize. Where there is neither, the files of the base and the
overlays are compared as they are written, and whatever a patch makes of them is not; with
MAINSTAY_REQUIRE_KUSTOMIZE=1 that is a failure.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes_validate.utils import (
    SchemaNotFoundError,
    ValidationError,
    all_versions,
    validate,
)

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "deploy" / "kubernetes"
RENDERED = ("base", "overlays/development", "overlays/production")
NOT_APPLIED = {"Kustomization", "Component"}

Manifest = Mapping[str, Any]


def rendered(command: list[str]) -> Iterator[tuple[str, Manifest]]:
    """Yield what would be applied, by the overlay it is of."""
    for name in RENDERED:
        done = subprocess.run(
            [*command, str(FOLDER / name)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{name} cannot be rendered: {done.stderr.strip()}")
        for manifest in yaml.safe_load_all(done.stdout):
            yield name, manifest


def written() -> Iterator[tuple[str, Manifest]]:
    """Yield what stands in files and is more than a patch."""
    for file in sorted(FOLDER.rglob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            whole = isinstance(document, dict) and document.get("kind") not in NOT_APPLIED
            if whole and not _is_patch(document):
                yield str(file.relative_to(FOLDER)), document


def _is_patch(document: Manifest) -> bool:
    """Return whether a policy leaves out whom it selects, as only a patch of one may."""
    return document["kind"] == "NetworkPolicy" and "podSelector" not in document["spec"]


def renderer() -> list[str] | None:
    """Return the command that renders a kustomization, if there is one."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


def mistake(manifest: Manifest, version: str) -> str | None:
    """Return what a version of Kubernetes would not take, if anything."""
    try:
        validate(manifest, version, strict=True)
    except ValidationError as error:
        return f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"
    except SchemaNotFoundError as error:
        return str(error.message)
    return None


def main() -> int:
    """Compare everything; return 1 if anything would be refused."""
    command = renderer()
    if command is None:
        print("neither kubectl nor kustomize is on the PATH: patches were NOT CHECKED")
        if "MAINSTAY_REQUIRE_KUSTOMIZE" in os.environ:
            return 1
    manifests = list(rendered(command) if command else written())
    versions = (all_versions()[0], all_versions()[-1])
    found = [
        f"{where}: {manifest['kind']} {manifest['metadata']['name']}: Kubernetes {version}: {wrong}"
        for where, manifest in manifests
        for version in versions
        if (wrong := mistake(manifest, version))
    ]
    print("\n".join(found) or f"{len(manifests)} manifests fit Kubernetes {' and '.join(versions)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
