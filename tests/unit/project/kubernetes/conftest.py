"""The manifests, of the base as it is written and of each overlay as it is rendered.

Overlays need kubectl or kustomize; MAINSTAY_REQUIRE_KUSTOMIZE=1 fails where there is neither.
"""

import os
from collections.abc import Callable

import pytest

from shared.process_settings import PREFIX
from tests.unit.project.kubernetes import manifests as kubernetes
from tests.unit.project.kubernetes.manifests import OVERLAYS, Manifests, needs_renderer

WRITTEN = pytest.param(kubernetes.written, id="base as written")
RENDERED = [
    pytest.param(lambda folder=folder: kubernetes.rendered(folder), id=folder, marks=needs_renderer)
    for folder in ("base", *OVERLAYS)
]


@pytest.fixture(params=[WRITTEN, *RENDERED])
def manifests(request: pytest.FixtureRequest) -> Manifests:
    """Provide the manifests, of the base and of each overlay."""
    read: Callable[[], Manifests] = request.param
    return read()


@pytest.fixture(params=OVERLAYS)
def applied(request: pytest.FixtureRequest) -> Manifests:
    """Provide what is applied to a cluster: an overlay, rendered."""
    return kubernetes.rendered(request.param)


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Forget what this machine's environment says."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    return monkeypatch
