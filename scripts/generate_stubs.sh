#!/usr/bin/env bash
# Generates the Python stubs of protos/ into the SDK, or with --check compares them with what is there.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
sdk=sdk/src
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

mapfile -t protos < <(find protos -name '*.proto' | sort)
python -m grpc_tools.protoc --proto_path=protos --python_out="$fresh" --grpc_python_out="$fresh" \
  --mypy_out=quiet:"$fresh" --mypy_grpc_out=quiet:"$fresh" "${protos[@]}"
# Only packages with a service have a use for gRPC stubs.
find "$fresh" -name '*_pb2_grpc.py' | while read -r stub; do
  grep -q 'class .*Servicer' "$stub" || rm -f "$stub" "${stub}i"
done

stubs() { (cd "$1" && find . -name '*_pb2*.py*' -not -path '*/__pycache__/*' -exec sha256sum {} + | sort -k 2); }
if [ "${1:-}" = --check ]; then
  if ! diff <(stubs "$sdk") <(stubs "$fresh") > /dev/null; then
    echo "$sdk differs from what protos/ generate; run 'make gen' and commit the result" >&2
    exit 1
  fi
else
  find "$sdk" -name '*_pb2*.py*' -delete
  cp -r "$fresh"/. "$sdk"/
fi
