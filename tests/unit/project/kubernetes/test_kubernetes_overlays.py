"""What the overlays change is there to be changed: seen without rendering them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cli.settings import SuiteSettings
from shared.process_settings import PREFIX
from tests.unit.project.kubernetes import manifests as kubernetes
from tests.unit.project.kubernetes.manifests import FOLDER, OVERLAYS, Manifest

CUSTOMIZED = ("base", "components/tls", *OVERLAYS)


def kustomization(folder: str) -> Manifest:
    """Return what makes a folder."""
    read: Manifest = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())
    return read


def targets(folder: str) -> Iterator[tuple[str, str]]:
    """Yield a kind and a pattern of names for every patch."""
    for patch in kustomization(folder).get("patches", ()):
        if "target" in patch:
            yield patch["target"]["kind"], patch["target"].get("name", ".*")
        else:
            for document in yaml.safe_load_all((FOLDER / folder / patch["path"]).read_text()):
                yield document["kind"], document["metadata"]["name"]


class TestOverlays:
    @pytest.mark.parametrize("folder", CUSTOMIZED)
    def test_patch_what_exists(self, folder: str) -> None:
        """A patch of something that was renamed would patch nothing."""
        names = {(each["kind"], each["metadata"]["name"]) for each in kubernetes.written()}
        for kind, pattern in targets(folder):
            assert any(kind == of and re.fullmatch(pattern, name) for of, name in names), pattern

    @pytest.mark.parametrize("folder", CUSTOMIZED)
    def test_use_every_file_and_no_other(self, folder: str) -> None:
        """A file that nobody names is never applied."""
        made = kustomization(folder)
        generated = made.get("configMapGenerator", ())
        named = {
            *made.get("resources", ()),
            *(each["path"] for each in made.get("patches", ()) if "path" in each),
            *(file for each in generated for file in each.get("envs", ())),
            *(file for each in generated for file in each.get("files", ())),
        }
        own = {name for name in named if not name.startswith("..")}

        assert {each.name for each in _files(FOLDER / folder)} == own | {"kustomization.yaml"}

    def test_tell_settings_that_exist(self) -> None:
        """In files and in lines of their own."""
        told = set()
        for folder in CUSTOMIZED:
            for each in kustomization(folder).get("configMapGenerator", ()):
                lines = list(each.get("literals", ()))
                for file in each.get("envs", ()):
                    lines += (FOLDER / folder / file).read_text().splitlines()
                told |= {line.partition("=")[0] for line in lines if line.startswith(PREFIX)}

        assert f"{PREFIX}HOST" in told
        assert set() == told - {PREFIX + name.upper() for name in SuiteSettings.model_fields}

    def test_the_secrets_they_want_are_documented(self) -> None:
        """Each key of each Secret has its command in docs/kubernetes.md."""
        page = (kubernetes.REPOSITORY / "docs" / "kubernetes.md").read_text()
        wanted = {
            reference
            for workload in kubernetes.workloads(kubernetes.written())
            for reference in workload.references.values()
        }

        for reference in wanted:
            secret, _, key = reference.partition("/")
            assert f"secret generic {secret} " in page
            assert f"--from-literal={key}=" in page


def _files(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_file()]
