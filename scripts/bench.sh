#!/bin/bash
# make bench: builds the release preset with its measurements and runs each program in bench/.
set -uo pipefail
cd "$(dirname "$0")/.."
cmake --preset release -DINGESTOR_TESTS=ON >/dev/null && cmake --build build -j "$(nproc)" | tail -1 || exit 1
status=0
for source in bench/*_bench.c; do
    [ -e "$source" ] || continue
    program=build/$(basename "$source" .c)
    echo "== $program"
    "$program" || status=1
done
exit $status
