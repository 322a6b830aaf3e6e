# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For tests that run a guard and talk to it over HTTP. Sourced with the test's
# own arguments; goes on in network, mount and pid namespaces of the test's
# own, with a bpffs and a cgroup. What is started there ends with the script.
#
# Sets `guard` (the first argument), `folder`, `guard_paths`. A process is guarded
# once it is in `cgroup`.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
guard=$1

if [[ -z ${NPG_PRIVATE_NODE:-} ]]; then
  cgroup_root=$(awk '$4 == "/" && / - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
  folder=$(mktemp -d)
  cgroup=$cgroup_root/nodeport-guard-e2e.$$
  mkdir "$cgroup"
  trap 'rmdir -- "$cgroup"; rm -rf -- "$folder"' EXIT
  trap 'exit 143' TERM
  trap 'exit 130' INT
  status=0
  NPG_PRIVATE_NODE=$folder:$cgroup unshare --net --mount --pid --fork --kill-child --mount-proc \
    "$0" "$@" &
  wait $! || status=$?
  exit "$status"
fi

folder=${NPG_PRIVATE_NODE%%:*}
cgroup=${NPG_PRIVATE_NODE#*:}
guard_paths=(--bpffs "$folder/bpf" --cgroup "$cgroup")
ip link set lo up
mkdir "$folder/bpf"
mount -t bpf none "$folder/bpf"

wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [[ $SECONDS -lt $deadline ]] || return 1
    sleep 0.05
  done
}

# start_guard ARGUMENT...: in the background, until it is ready; sets guard_pid.
start_guard() {
  "$guard" run "${guard_paths[@]}" "$@" 2>"$folder/log" &
  # Read by the scripts that source this.
  # shellcheck disable=SC2034
  guard_pid=$!
  local deadline=$((SECONDS + 60))
  while kill -0 "$guard_pid" 2>/dev/null && [[ $SECONDS -lt $deadline ]] &&
    ! grep -qs 'ready: ' "$folder/log"; do
    sleep 0.05
  done
  grep -qs 'ready: ' "$folder/log" || {
    printf 'FAILED: the guard is not ready; it says:\n' >&2
    cat -- "$folder/log" >&2
    exit 1
  }
}
