#!/usr/bin/env bash
# Fails when the checked-in stubs are not what the protos generate.
set -euo pipefail
cd "$(dirname "$0")/.."
stubs() { find sdk/src -name '*_pb2*.py*' -type f -print0 | sort -z | xargs -0 sha256sum; }
before=$(stubs)
scripts/generate_stubs.sh
if [ "$before" != "$(stubs)" ]; then
  echo "sdk/src differs from what protos/ generate; run 'make gen' and commit the result" >&2
  exit 1
fi
