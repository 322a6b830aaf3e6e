#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# package_runs.sh PACKAGE.deb ROOT.tar: installs the package in the Debian of the tar, runs the
# guard, upgrades, removes and purges the package.
set -euo pipefail
package=$1
tar=$2
here=$(dirname -- "${BASH_SOURCE[0]}")
# shellcheck source=tests/e2e/private_node.sh
source "$here/private_node.sh"
# shellcheck source=tests/e2e/hijack_story.sh
source "$here/hijack_story.sh"

# The guarded cgroup is a child, and the guard runs outside of it, so that its self-probe has to
# start a process in there.
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

# All files but the records of dpkg.
files() {
  find "$root" -xdev \( -path "$root/run/asked" -o -path "$root/var/lib/dpkg" -o -path "$root/var/log" -o -path "$root/var/cache" -o \
    -path "$root/etc/ld.so.cache" \) -prune -o -print | sort
}
installer() { inside dpkg "$@" >"$folder/dpkg.log" 2>&1 || fail "dpkg $* failed in $release"; }

# A stub of systemctl, because systemd cannot run here. It logs the calls of the package.
mkdir -p "$root/run/systemd/system"
printf '#!/bin/sh\necho "systemctl $*" >>/run/asked\n' >"$root/usr/bin/systemctl"
chmod 755 "$root/usr/bin/systemctl"
# asked WORDS WHEN [no]: expects that the package called (did not call) systemctl with WORDS since
# the log was last cleared.
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
  # The dpkg of the root may omit manual pages, but the package must have them.
  inside dpkg --listfiles nodeport-guard | grep -qxF -- "$path" || fail "$path is not in the package"
done
unit=$(inside dpkg --listfiles nodeport-guard | grep '/systemd/system/nodeport-guard.service$') ||
  fail "no unit in the package"
if ! systemd-analyze verify --man=no --recursive-errors=no --root="$root" "$unit" >"$folder/verify.log" 2>&1 ||
  [[ -s $folder/verify.log ]]; then
  fail "systemd-analyze finds errors in the unit"
fi
[[ -z $(find "$root/etc" -path "*/systemd/*" -name 'nodeport-guard*') ]] || fail "the unit was enabled"
version=$(dpkg-deb --field "$package" Version)
[[ $(inside nodeport-guard version | head -n 1) == "nodeport-guard $(sed -E 's/-1\+deb.*//; s/~/-/' <<<"$version")" ]] ||
  fail "the versions of binary and package differ"
answers 'pod web' "$release: installed, not started:"

# What the administrator has reserved, which the removal of the package must leave.
reserved=/proc/sys/net/ipv4/ip_local_reserved_ports
echo 50000-50001 >$reserved

# In the syntax of systemd, which differs from that of a shell.
printf 'NODEPORT_GUARD_CGROUP="%s"\nOTHER=a b\n' "$cgroup" >>"$root/etc/default/nodeport-guard"
# Runs the guard with the privileges of the unit, and a service manager to notify, as systemd does.
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
    /usr/bin/nodeport-guard run --source netfilter --cgroup "$cgroup" --reserve-ports allocated
) >"$folder/guard.log" 2>&1 &
guard_pid=$! # guard_has_answered looks at it
wait_for 60 guard_has_answered || true
grep -q 'ready: ' "$folder/guard.log" || fail "the guard of the package is not ready"
wait "$manager"
rm -- "$root/run/manager"
grep -qxF 'READY=1' "$folder/told.log" || fail "the guard did not notify its service manager that it is ready"
grep -qE '^Seccomp:\s+2$' "/proc/$guard_pid/status" || fail "the guard runs without the unit's filter of system calls"
answers 'the node itself' "$release: it runs:"
# The self-probe needs clone3(2), the name of the cgroup open_by_handle_at(2).
guard_reports() {
  local said
  said=$(curl -q --noproxy '*' --silent --fail --max-time 5 "http://127.0.0.1:9829/$1") && grep -qF -- "$2" <<<"$said"
}
probed() { guard_reports metrics 'nodeport_guard_self_probe_success 1'; }
wait_for 20 probed || fail "the self-probe does not work with the privileges of the unit"
guard_reports api/v1/status "\"$cgroup\"" || fail "the guard does not know the name of its cgroup"
# The NodePort is an ephemeral one only from here on, see private_node.sh.
echo 32768 60999 >/proc/sys/net/ipv4/ip_local_port_range
reserves() { grep -qE "(^|,)$port(,|\$)" $reserved && grep -qE '(^|,)50000-50001(,|$)' $reserved; }
wait_for 60 reserves || fail "with the privileges of the unit, NodePort $port is not reserved: $(<$reserved)"
! grep -E ' (warn|error|warning)' "$folder/guard.log" || fail "the guard logged a warning or an error"
kill "$guard_pid"
wait "$guard_pid" || fail "the guard ended with $?"

: >"$root/run/asked"
installer --install /package.deb
asked try-restart 'upgraded'
asked stop 'upgraded' no
reserves || fail "the upgrade changed the reserved ports: $(<$reserved)"
answers 'the node itself' "$release: after an upgrade:"

: >"$root/run/asked"
installer --remove nodeport-guard
asked stop 'removed'
[[ $(<$reserved) == 50000-50001 ]] || fail "after the removal these ports are reserved: $(<$reserved)"
nothing_left
answers 'pod web' "$release: removed:"
[[ -e $root/etc/default/nodeport-guard ]] || fail "remove deleted the configuration"
installer --purge nodeport-guard
files >"$folder/after"
diff "$folder/before" "$folder/after" >"$folder/diff.log" || fail "purge leaves files, or deletes too many"
