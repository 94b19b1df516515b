#!/bin/sh
# lean.sh ENVIRONMENT: removes from a virtual environment what no service runs, and compiles the rest.
set -eu
packages=$(echo "$1"/lib/python3*/site-packages)
# Sources of compiled modules, their stubs for type checkers, and tests of libraries.
find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' \
  -o -name '*.c' -o -name '*.h' -o -name '*.cpp' -o -name '*.hpp' \) -delete
find "$packages" -type d \( -name tests -o -name test -o -name _testbase \) -prune -exec rm -rf {} +
rm -f "$1"/bin/activate* "$1"/bin/Activate*
# Never checked against the source: it cannot change, and what is not checked is read sooner.
"$1/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$packages"
