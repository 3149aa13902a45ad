#!/bin/bash
# Installs the distribution packages that are missing (Debian 12, Ubuntu 24.04), as root or by sudo.
# Quick when nothing is missing.
#
#   scripts/install-packages.sh [build|demo|test|ci]
#
# build: to build the program; demo: and a broker; test: and cmocka, Python; ci: and the clang tools.
set -euo pipefail

build=(git make cmake ninja-build gcc libc6-dev pkg-config libuv1-dev libcurl4-openssl-dev
    libmicrohttpd-dev libjansson-dev libyaml-dev libsqlite3-dev libpq-dev libzstd-dev libsnappy-dev liblz4-dev
    zlib1g-dev libssl-dev libxxhash-dev libpcre2-dev libcoap3-dev)
demo=(mosquitto curl ca-certificates)
# the last three: to compile scripts/test-tools-compiled.txt
test=(libcmocka-dev python3 python3-venv mosquitto postgresql libcoap3-bin curl ca-certificates
    python3-dev autoconf automake)
ci=(clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev ccache)

wanted=("${build[@]}")
case ${1:-build} in
build) ;;
demo) wanted+=("${demo[@]}") ;;
test) wanted+=("${test[@]}") ;;
ci) wanted+=("${test[@]}" "${ci[@]}") ;;
*)
    echo "usage: $0 [build|demo|test|ci]" >&2
    exit 2
    ;;
esac

# Debian 12 ships the sanitizers' runtime of clang as libclang-rt-14-dev, as Ubuntu does.
missing=()
for package in "${wanted[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' ||
        missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "install-packages: needs root to install: ${missing[*]}" >&2
        exit 1
    }
    as_root=(sudo)
fi

echo "Installing ${#missing[@]} packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3
    -o DPkg::Lock::Timeout=300 -qq)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The Debian package starts a broker on port 1883, which nobody here asked for: where a policy file
# can be put for the time of the installation, it does not.
policy=/usr/sbin/policy-rc.d
placed=
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
    "${as_root[@]}" chmod 755 $policy
    placed=1
fi
trap '[ -z "$placed" ] || "${as_root[@]}" rm -f $policy; rm -f "$log"' EXIT
for attempt in 1 2 3; do
    if "${apt[@]}" update >"$log" 2>&1 &&
        "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 </dev/null; then
        exit 0
    fi
    echo "install-packages: try $attempt failed" >&2
    sleep $((attempt * 3))
done
cat "$log" >&2
exit 1
