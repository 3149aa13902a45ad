#!/bin/bash
# make test: unit tests in a debug build and under the sanitizers, then the integration tests.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/totals.sh

build() {
    cmake --preset "$1" -DINGESTOR_TESTS=ON >/dev/null && cmake --build "build${2:-}" -j "$(nproc)" | tail -1
}

step "build release" build release || {
    totals
    exit 1
}
for preset in debug asan; do
    if step "build $preset" build $preset -$preset; then
        unit_tests build-$preset
    fi
done
step "tidy" python3 tests/tidy/tidy.py
integration_tests
totals
