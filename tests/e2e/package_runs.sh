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

# The guarded cgroup is one below, and the guard itself outside of it: its self-probe has to
# start something in there.
outside=$cgroup
cgroup=$cgroup/guarded
mkdir "$cgroup"
echo $$ >"$cgroup/cgroup.procs"

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

# As systemd reads it, which is not as a shell would.
printf 'NODEPORT_GUARD_CGROUP="%s"\nOTHER=a b\n' "$cgroup" >>"$root/etc/default/nodeport-guard"
# With the rights that the unit leaves it, and told to say when it is ready, as by systemd.
/usr/bin/python3 -c 'import socket, sys
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(sys.argv[1])
manager.settimeout(60)
print(manager.recv(256).decode())' "$root/run/manager" >"$folder/told.log" &
manager=$!
manager_listens() { [[ -S $root/run/manager ]]; }
wait_for 10 manager_listens || fail "the test's service manager did not start"
(
  echo "$BASHPID" >"$outside/cgroup.procs"
  NOTIFY_SOCKET=/run/manager exec /usr/bin/python3 "$here/unit_sandbox.py" "$root$unit" "$root" \
    /usr/bin/nodeport-guard run --source netfilter --cgroup "$cgroup"
) >"$folder/guard.log" 2>&1 &
guard_pid=$! # guard_has_answered looks at it
wait_for 60 guard_has_answered || true
grep -q 'ready: ' "$folder/guard.log" || fail "the guard of the package is not ready"
wait "$manager"
rm -- "$root/run/manager"
grep -qxF 'READY=1' "$folder/told.log" || fail "the guard has not told its service manager that it is ready"
grep -qE '^Seccomp:\s+2$' "/proc/$guard_pid/status" || fail "the guard runs without the unit's filter of system calls"
answers 'the node itself' "$release: it runs:"
# What needs clone3(2) and open_by_handle_at(2).
said_by_guard() {
  local said
  said=$(curl -q --noproxy '*' --silent --fail --max-time 5 "http://127.0.0.1:9829/$1") && grep -qF -- "$2" <<<"$said"
}
probed() { said_by_guard metrics 'nodeport_guard_self_probe_success 1'; }
wait_for 20 probed || fail "the self-probe does not work with the rights of the unit"
said_by_guard api/v1/status "\"$cgroup\"" || fail "the guard does not know the name of its cgroup"
! grep -E ' (warn|error|warning)' "$folder/guard.log" || fail "the guard complains"
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
