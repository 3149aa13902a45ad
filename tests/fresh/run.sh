#!/bin/bash
# By hand, as root: a bare distribution (debootstrap) in a folder, a fresh clone of this repository in
# it, and `make demo` there, twice. Prints how long each took and what lies in the lake.
#
#   tests/fresh/run.sh [folder]          (default: a temporary one, removed afterwards)
#
# SUITE=bookworm or noble; MIRROR its mirror; AS=sudo does all as a user who may sudo instead of root;
# TEST=1 runs `make test` too. Network access comes from the machine's own resolv.conf.
set -euo pipefail
cd "$(dirname "$0")/../.."

root=${1:-}
suite=${SUITE:-bookworm}
as=${AS:-root}
case $suite in
noble) mirror=${MIRROR:-http://archive.ubuntu.com/ubuntu} components=main,universe ;;
*) mirror=${MIRROR:-http://deb.debian.org/debian} components=main ;;
esac
keep=$root
[ -n "$root" ] || root=$(mktemp -d /var/tmp/ingestor-fresh.XXXXXX)

finish() {
    umount -l -R "$root/proc" "$root/dev" 2>/dev/null || true
    [ -n "$keep" ] || rm -rf --one-file-system "$root"
}
trap finish EXIT

in_root() {
    chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"
}

as_user() {
    local command="cd /home/dev/ingestor && $1"
    if [ "$as" = sudo ]; then
        in_root setpriv --reuid=1000 --regid=1000 --init-groups env HOME=/home/dev USER=dev \
            bash -c "$command" </dev/null
    else
        in_root bash -c "$command" </dev/null
    fi
}

# The scripts of debootstrap know no newer Ubuntu than itself; all of them are alike.
script=/usr/share/debootstrap/scripts/$suite
[ -e "$script" ] || [ "$suite" = bookworm ] || script=/usr/share/debootstrap/scripts/gutsy
[ -e "$root/etc/debian_version" ] ||
    debootstrap --variant=minbase --components=$components "$suite" "$root" "$mirror" "$script"
cp /etc/resolv.conf "$root/etc/resolv.conf"
for file in /etc/apt/apt.conf.d/*proxy*; do
    [ ! -e "$file" ] || cp "$file" "$root$file"
done
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --make-rslave "$root/dev" # or its umount would reach the host's own

# What a user has before the clone: make, and sudo if it is not root.
[ "$as" = root ] && tools=make || tools="make sudo"
in_root sh -c "dpkg -s $tools >/dev/null 2>&1 || { apt-get -qq update && \
    apt-get -qq -y install --no-install-recommends $tools >/dev/null; }"
in_root sh -c 'id dev >/dev/null 2>&1 || { userdel -r ubuntu 2>/dev/null; useradd -m -u 1000 dev; }'
[ "$as" = root ] || echo 'dev ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/dev"

# What a fresh clone holds, without needing git inside before it is installed.
rm -rf "$root/home/dev/ingestor"
mkdir -p "$root/home/dev/ingestor"
git archive HEAD | tar -x -C "$root/home/dev/ingestor"
[ "$as" = root ] || in_root chown -R dev: /home/dev/ingestor

for run in first second; do
    start=$SECONDS
    as_user 'DEMO_SECONDS=20 make demo'
    echo "== $run run: $((SECONDS - start)) s, 20 of them the demo's own"
    find "$root/home/dev/ingestor/data/lake" -name '*.parquet' | wc -l
done
as_user 'make install DESTDIR=/tmp/staged && find /tmp/staged -type f'
[ -z "${TEST:-}" ] || as_user 'make test'
