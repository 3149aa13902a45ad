#!/bin/bash
# Makes the Python environment that the integration tests use, from the pins in test-tools.txt, in a
# user-space folder that is kept between runs (INGESTOR_TOOLS, default ~/.cache/ingestor-tools).
# Does nothing when it is there with these pins.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tools=${INGESTOR_TOOLS:-$HOME/.cache/ingestor-tools}
venv=$tools/venv
stamp=$venv/.pins

if cmp -s "$here/test-tools.txt" "$stamp"; then
    exit 0
fi
mkdir -p "$tools"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
echo "Installing the test tools into $venv"
for attempt in 1 2 3; do
    if "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/test-tools.txt"; then
        cp "$here/test-tools.txt" "$stamp"
        exit 0
    fi
    echo "install-test-tools: try $attempt failed" >&2
    sleep $((attempt * 3))
done
exit 1
