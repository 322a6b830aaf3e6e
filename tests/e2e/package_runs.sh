#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# package_runs.sh PACKAGE.deb ROOT.tar: the life of the package in the Debian of the tar: installed,
# does the guard's job, is upgraded, removed and purged.
set -euo pipefail
package=$1
tar=$2
here=$(dirname -- "${BASH_SOURCE[0]}")
# shellcheck source=tests/e2e/private_node.sh
source "$here/private_node.sh"
# shellcheck source=tests/e2e/hijack_story.sh
source "$here/hijack_story.sh"

root=$folder/root
mkdir "$root"
tar -C "$root" -xf "$tar"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount --bind "$folder/bpf" "$root/sys/fs/bpf"
cp -- "$package" "$root/package.deb"
inside() { chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }
release="Debian $(sed -nE 's/^VERSION_ID="(.*)"/\1/p' "$root/etc/os-release")"

# What is there, but for the books that dpkg keeps.
files() {
  find "$root" -xdev \( -path "$root/run/asked" -o -path "$root/var/lib/dpkg" -o -path "$root/var/log" -o -path "$root/var/cache" -o \
    -path "$root/etc/ld.so.cache" \) -prune -o -print | sort
}
installer() { inside dpkg "$@" >"$folder/dpkg.log" 2>&1 || fail "dpkg $* failed in $release"; }

# Stands for systemd, which cannot run here: what the package asks of it is in the log.
mkdir -p "$root/run/systemd/system"
printf '#!/bin/sh\necho "systemctl $*" >>/run/asked\n' >"$root/usr/bin/systemctl"
chmod 755 "$root/usr/bin/systemctl"
# asked WORDS WHEN [no]: did the package ask for it (not) since the last time it was looked at?
asked() {
  local found=yes
  grep -qE -- "systemctl .*\<$1\>.*nodeport-guard" "$root/run/asked" || found=no
  [[ $found == "${3:-yes}" ]] || {
    cp -- "$root/run/asked" "$folder/asked.log"
    fail "$2: systemctl $1 of nodeport-guard.service: $found"
  }
}

files >"$folder/before"
: >"$root/run/asked"
installer --install /package.deb
for what in enable start restart try-restart; do asked "$what" 'installed' no; done
for path in /usr/bin/nodeport-guard /usr/share/man/man8/nodeport-guard.8.gz /etc/default/nodeport-guard \
  /usr/share/bash-completion/completions/nodeport-guard /usr/share/zsh/vendor-completions/_nodeport-guard; do
  # Manual pages may be left out by the root's dpkg: in the package they must be.
  inside dpkg --listfiles nodeport-guard | grep -qxF -- "$path" || fail "$path is not in the package"
done
unit=$(inside dpkg --listfiles nodeport-guard | grep '/systemd/system/nodeport-guard.service$') ||
  fail "no unit in the package"
if ! systemd-analyze verify --man=no --recursive-errors=no --root="$root" "$unit" >"$folder/verify.log" 2>&1 ||
  [[ -s $folder/verify.log ]]; then
  fail "systemd-analyze finds fault with the unit"
fi
[[ -z $(find "$root/etc" -path "*/systemd/*" -name 'nodeport-guard*') ]] || fail "the unit was enabled"
version=$(dpkg-deb --field "$package" Version)
[[ $(inside nodeport-guard version | head -n 1) == "nodeport-guard $(sed -E 's/-1\+deb.*//; s/~/-/' <<<"$version")" ]] ||
  fail "the binary is of another version than the package"
answers 'pod web' "$release: installed, not started:"

printf 'NODEPORT_GUARD_CGROUP=%s\n' "$cgroup" >>"$root/etc/default/nodeport-guard"
chroot "$root" /usr/bin/nodeport-guard run --source netfilter --cgroup "$cgroup" >"$folder/guard.log" 2>&1 &
guard_pid=$! # guard_has_answered looks at it
wait_for 60 guard_has_answered || true
grep -q 'ready: ' "$folder/guard.log" || fail "the guard of the package is not ready"
answers 'the node itself' "$release: it runs:"
kill "$guard_pid"
wait "$guard_pid" || fail "the guard ended with $?"

: >"$root/run/asked"
installer --install /package.deb
asked try-restart 'upgraded'
asked stop 'upgraded' no
answers 'the node itself' "$release: after an upgrade:"

: >"$root/run/asked"
installer --remove nodeport-guard
asked stop 'removed'
nothing_left
answers 'pod web' "$release: removed:"
[[ -e $root/etc/default/nodeport-guard ]] || fail "remove has taken the configuration too"
installer --purge nodeport-guard
files >"$folder/after"
diff "$folder/before" "$folder/after" >"$folder/diff.log" || fail "purge leaves something, or takes too much"
