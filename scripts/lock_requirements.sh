#!/usr/bin/env bash
# Resolves the dependencies and writes them down with hashes and without the address of any index.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-annotate --no-header --no-emit-package mainstay "$@"
}
compile pyproject.toml sdk/pyproject.toml --extra embedded --group dev --upgrade -o requirements/dev.txt
# The runtime is a part of it, with the same versions.
compile pyproject.toml sdk/pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
# What the services are measured against comes on top of the first, with the same versions again.
compile --group pyproject.toml:bench -c requirements/dev.txt -o requirements/bench.txt
# What images are built with, beside the runtime.
compile --group pyproject.toml:image -c requirements/dev.txt -o requirements/image.txt
# What looks for weaknesses has an environment of its own.
compile --group pyproject.toml:audit --upgrade -o requirements/audit.txt
