#!/bin/bash
# make test: installs what is missing, then unit tests in a debug build and under the sanitizers, then
# the integration tests. Whatever happens, the last line of its own is the totals.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/totals.sh

# build PRESET FOLDER [TARGET …]
build() {
    local preset=$1 folder=$2
    shift 2
    cmake --preset "$preset" -DINGESTOR_TESTS=ON >/dev/null &&
        cmake --build "$folder" -j "$(nproc)" --target "${@:-all}" | tail -1
}

for needed in "scripts/install-packages.sh test" scripts/install-test-tools.sh "build release build"; do
    # shellcheck disable=SC2086
    step "$needed" $needed || {
        totals
        exit 1
    }
done
for preset in debug asan; do
    if step "build $preset" build $preset build-$preset unit_programs; then
        unit_tests build-$preset
    fi
done
step "tidy" python3 tests/tidy/tidy.py
integration_tests
totals
