#!/bin/bash
# Makes the Python environment that the integration tests use, from the pins in test-tools.txt, in a
# user-space folder that is kept between runs (INGESTOR_TOOLS, default ~/.cache/ingestor-tools).
# Does nothing when it is there with these pins. What is in test-tools-compiled.txt needs a compiler,
# autoconf, automake and Python's headers: where it cannot be had its tests are skipped.
#
#   scripts/install-test-tools.sh [spark]
#
# spark: instead, an environment of its own with Spark (450 MB to fetch, 670 MB installed), which only
# the whole check wants. Of its own: pandas and NumPy change what pyarrow gives the other tests.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tools=${INGESTOR_TOOLS:-$HOME/.cache/ingestor-tools}
venv=$tools/venv
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Installs what the file of pins says, unless it is there; options are pip's.
install() {
    local pins=$here/$1.txt stamp=$venv/.pins-$1
    shift
    ! cmp -s "$pins" "$stamp" || return 0
    mkdir -p "$tools"
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    echo "Installing the test tools of $(basename "$pins") into $venv"
    for attempt in 1 2 3; do
        if "$venv/bin/pip" install -q --disable-pip-version-check "$@" -r "$pins" >"$log" 2>&1; then
            cp "$pins" "$stamp"
            return 0
        fi
        echo "install-test-tools: try $attempt failed" >&2
        sleep $((attempt * 3))
    done
    tail -40 "$log" >&2
    return 1
}

case ${1:-} in
"")
    install test-tools || exit 1
    install test-tools-compiled --no-build-isolation ||
        echo "install-test-tools: no CoAP server with DTLS of another kind: its tests are skipped"
    ;;
spark)
    venv=$tools/spark
    if ! command -v java >/dev/null && [ ! -x "${JAVA_HOME:-}/bin/java" ]; then
        echo "install-test-tools: Spark needs Java 17 (apt-get install default-jdk-headless)" >&2
        exit 1
    fi
    install test-tools-spark
    ;;
*)
    echo "usage: $0 [spark]" >&2
    exit 2
    ;;
esac
