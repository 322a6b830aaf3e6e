#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# demo_interrupted.sh DEMO GUARD: interrupts the demo at each of its steps, by
# Ctrl-C and by SIGKILL (and at some steps by TERM and HUP), and checks that nothing
# remains: processes, BPF links, cgroups, mounts, files.
set -euo pipefail
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
demo=$1
guard=$2

top_folder=$(mktemp -d)
trap 'rm -rf -- "$top_folder"' EXIT
cgroup_root=$(awk '$4 == "/" && / - cgroup2 / { print $5; exit }' /proc/self/mountinfo)

fail() {
  printf 'FAILED: %s interrupted at step %s: %s\n' "$signal" "$at" "$1" >&2
  [[ ! -s $folder/seen ]] || { printf 'Output of the demo:\n' && cat -- "$folder/seen"; } >&2
  exit 1
}

# shellcheck source=tests/e2e/wait_for.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/wait_for.sh"

links_of_cgroup() {
  bpftool --json link show | /usr/bin/python3 -c '
import json, sys
for link in json.load(sys.stdin):
    if link.get("cgroup_id") == int(sys.argv[1]):
        print(link["id"])' "$1"
}

# shellcheck disable=SC2317 # wait_for calls it
none_of_links() {
  local id
  for id in "$@"; do
    ! bpftool link show id "$id" >/dev/null 2>&1 || return 1
  done
}

processes() { grep -lszF -e "$mark=1" /proc/[0-9]*/environ || true; }

# at_once NAME: sets up one of several concurrent runs, with its own folder and mark.
at_once() {
  mark=NPG_DEMO_INTERRUPTED_$$_${RANDOM}_$1
  folder=$top_folder/$1
  mkdir -p -- "$folder/tmp"
  mkfifo -- "$folder/output"
}

# interrupt SIGNAL AT STATUS: AT is a step's number, or "start".
interrupt() {
  signal=$1
  at=$2
  local expected=$3 line='' status=0 pid links=() cgroup
  : >"$folder/seen"
  # setsid, because Ctrl-C signals a whole process group, which must not be that of the test.
  env --default-signal=INT,TERM,HUP "$mark=1" TMPDIR="$folder/tmp" \
    setsid "$demo" --guard "$guard" >"$folder/output" 2>&1 &
  pid=$!
  exec {output}<"$folder/output"
  cgroup=$cgroup_root/nodeport-guard-demo.$pid
  if [[ $at == start ]]; then
    wait_for 20 test -d "$cgroup" || fail "the demo made no cgroup"
  else
    until [[ $line == "$at. "* ]]; do
      IFS= read -r -t 60 line <&"$output" || fail "the demo did not reach this step"
      printf '%s\n' "$line" >>"$folder/seen"
    done
    mapfile -t links < <(links_of_cgroup "$(stat -c %i "$cgroup")")
    [[ $at -lt 4 || $at -gt 6 || ${#links[@]} -gt 0 ]] || fail "the demo had no links at this step"
  fi
  if [[ $signal == INT ]]; then
    kill -INT -- "-$pid"
  else
    kill "-$signal" "$pid"
  fi
  { wait "$pid" || status=$?; } 2>/dev/null
  [[ $status -eq $expected ]] || fail "exit status $status, not $expected"
  # Ends when the last process that could write has ended.
  timeout 30 cat <&"$output" >"$folder/rest" || fail "a process still holds its output"
  exec {output}<&-
  ! grep 'left behind' "$folder/rest" || fail "the demo left something behind, see above"
  [[ -z $(processes) ]] || fail "processes are left: $(processes)"
  [[ ! -e $cgroup ]] || fail "$cgroup is left"
  [[ -z $(ls -A "$folder/tmp") ]] || fail "files are left: $(ls -A "$folder/tmp")"
  ! grep -F "nodeport-guard-demo.$pid" /proc/self/mountinfo || fail "a mount is left"
  # The kernel frees the namespaces shortly after their last process ended.
  wait_for 20 none_of_links "${links[@]}" || fail "BPF links are left: ${links[*]}"
  printf '%-4s at %-5s  nothing left\n' "$signal" "$at"
}

runs=()
(
  at_once int
  for at in start 1 2 3 4 5 6 7; do interrupt INT "$at" 130; done
) &
runs+=($!)
(
  at_once kill
  for at in start 1 2 3 4 5 6 7; do interrupt KILL "$at" 137; done
) &
runs+=($!)
(
  at_once others
  interrupt TERM 3 143
  interrupt HUP 5 129
) &
runs+=($!)
status=0
for run in "${runs[@]}"; do
  wait "$run" 2>/dev/null || status=1
done
exit "$status"
