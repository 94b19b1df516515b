#!/usr/bin/env bash
# Generates the Python stubs of protos/ into the SDK. Twice in a row changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
out=sdk/src
find "$out" -name '*_pb2*.py*' -delete
python -m grpc_tools.protoc --proto_path=protos \
  --python_out="$out" --grpc_python_out="$out" --mypy_out=quiet:"$out" --mypy_grpc_out=quiet:"$out" \
  $(find protos -name '*.proto' | sort)
# Only packages with a service have a use for gRPC stubs.
for stub in $(find "$out" -name '*_pb2_grpc.py'); do
  grep -q 'class .*Servicer' "$stub" || rm -f "$stub" "${stub}i"
done
