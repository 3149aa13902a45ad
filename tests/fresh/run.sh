#!/bin/bash
# By hand, as root: a bare Debian 12 (debootstrap) in a folder, a fresh clone of this repository in
# it, and `make demo` there, twice. Prints how long each took and what lies in the lake.
#
#   tests/fresh/run.sh [folder]          (default: a temporary one, removed afterwards)
#
# MIRROR names the Debian mirror; network access comes from the machine's own resolv.conf.
set -euo pipefail
cd "$(dirname "$0")/../.."

root=${1:-}
mirror=${MIRROR:-http://deb.debian.org/debian}
keep=$root
[ -n "$root" ] || root=$(mktemp -d /var/tmp/ingestor-fresh.XXXXXX)

finish() {
    umount -l -R "$root/proc" "$root/dev" 2>/dev/null || true
    [ -n "$keep" ] || rm -rf --one-file-system "$root"
}
trap finish EXIT

[ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase bookworm "$root" "$mirror"
cp /etc/resolv.conf "$root/etc/resolv.conf"
for file in /etc/apt/apt.conf.d/*proxy* /etc/apt/sources.list; do
    [ ! -e "$file" ] || cp "$file" "$root$file"
done
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --make-rslave "$root/dev" # or its umount would reach the host's own
rm -rf "$root/root/ingestor"
# What a fresh clone holds, without needing git inside before it is installed.
mkdir -p "$root/root/ingestor"
git archive HEAD | tar -x -C "$root/root/ingestor"

in_root() {
    chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"
}

# make itself must come from somewhere: it is what a user has to have.
in_root sh -c 'command -v make >/dev/null || { apt-get -qq update && apt-get -qq -y install --no-install-recommends make >/dev/null; }'
for run in first second; do
    start=$SECONDS
    in_root sh -c 'cd /root/ingestor && DEMO_SECONDS=20 make demo </dev/null'
    echo "== $run run: $((SECONDS - start)) s, 20 of them the demo's own"
    in_root find /root/ingestor/data/lake -name '*.parquet' | wc -l
done
