# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For tests that run a guard and use its HTTP server. Sourced with the arguments of the test, and
# runs it again in its own network, mount and pid namespaces, in a guarded cgroup, with a bpffs.
# All processes end with the script, and nothing remains, however the script ends.
#
# Sets `guard` (the first argument), `folder` and `guard_paths`.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
guard=$1

# shellcheck source=tests/e2e/wait_for.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/wait_for.sh"

if [[ -z ${NPG_PRIVATE_NODE:-} ]]; then
  cgroup_root=$(awk '$4 == "/" && / - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
  name=nodeport-guard-e2e.$$
  folder=${TMPDIR:-/tmp}/$name
  cgroup=$cgroup_root/$name
  clear=$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/lib/demo-clear
  # Cleans up when this shell's end of the pipe closes, also when the shell is killed.
  exec {alive}> >(exec setsid "$clear" "$cgroup" "$folder")
  clearing=$!
  status=0
  trap 'status=$?; trap - EXIT; exec {alive}>&-; wait "$clearing" || status=1; exit "$status"' EXIT
  trap 'exit 130' HUP INT TERM
  mkdir -m 700 -- "$folder"
  mkdir -- "$cgroup"
  (
    echo "$BASHPID" >"$cgroup/cgroup.procs"
    NPG_PRIVATE_NODE=$folder:$cgroup exec setsid unshare --net --mount --propagation private \
      --pid --fork --kill-child --mount-proc "$0" "$@"
  ) {alive}>&- &
  wait $!
  exit
fi

folder=${NPG_PRIVATE_NODE%%:*}
cgroup=${NPG_PRIVATE_NODE#*:}
guard_paths=(--bpffs "$folder/bpf" --cgroup "$cgroup")
ip link set lo up
# Without the ports of the tests: sockets that are older than the guard count as bound to a given
# port if theirs is none of these.
echo 40000 60999 >/proc/sys/net/ipv4/ip_local_port_range
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/bpf"
mount -t bpf none "$folder/bpf"

# Whether the guard is ready or has ended.
guard_has_answered() {
  grep -qs 'ready: ' "$folder/guard.log" || ! kill -0 "$guard_pid" 2>/dev/null
}

# start_guard ARGUMENT...: starts the guard and waits until it is ready; sets guard_pid.
start_guard() {
  : >"$folder/guard.log" # of an earlier run: it was ready
  "$guard" run "${guard_paths[@]}" "$@" 2>"$folder/guard.log" &
  guard_pid=$!
  wait_for 60 guard_has_answered || true
  grep -qs 'ready: ' "$folder/guard.log" || {
    printf 'FAILED: the guard is not ready; its log:\n' >&2
    cat -- "$folder/guard.log" >&2
    exit 1
  }
}
