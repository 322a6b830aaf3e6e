#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# scripts_killed.sh SOURCE_TREE: ends long-running scripts by TERM, HUP, Ctrl-C and SIGKILL while
# they wait for a compiler or a virtual machine, and checks that nothing remains: processes,
# mounts, files.
set -euo pipefail
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
folder=$(mktemp -d)
trap 'rm -rf --one-file-system -- "$folder"' EXIT
trap 'exit 130' HUP INT TERM

# shellcheck source=tests/e2e/wait_for.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/wait_for.sh"
# shellcheck source=tests/e2e/stub_tree.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/stub_tree.sh"

fail() {
  printf 'FAILED: %s, %s in %s: %s\n' "$command" "$signal" "$hangs" "$1" >&2
  [[ ! -s $output ]] || { printf 'Output of the script:\n' && cat -- "$output"; } >&2
  # shellcheck disable=SC2046 # a list
  kill -KILL $(processes) 2>/dev/null || true
  exit 1
}

processes() { grep -lszF -e "$mark=1" /proc/[0-9]*/environ | grep -oE '[0-9]+' || true; }
# shellcheck disable=SC2317 # wait_for calls it
no_process() { [[ -z $(processes) ]]; }
work_folders() {
  find "$tree"/build/*/ -maxdepth 1 -name 'work.*'
  find "$tree/tmp" -mindepth 1
}

# run HANGS SCRIPT ARGUMENT...
run() {
  STUB_HANGS=$1 exec env --default-signal=INT,TERM,HUP "$mark=1" TMPDIR="$tree/tmp" \
    SOURCE_DATE_EPOCH=1 "${user[@]}" setsid "$tree/scripts/$2" "${@:3}" >"$output" 2>&1 </dev/null
}

# killed SIGNAL STATUS HANGS SCRIPT ARGUMENT...: HANGS is the stub that the script waits for.
killed() {
  local signal=$1 expected=$2 hangs=$3 command="${*:4}" pid status=0
  shift 2
  # In its own session, because Ctrl-C signals a whole process group, which must not be the test's.
  run "$@" &
  pid=$!
  read -r -t 20 -u 9 _ || fail "the script did not reach the stub"
  if [[ $signal == INT ]]; then
    kill -INT -- "-$pid"
  else
    kill "-$signal" "$pid"
  fi
  # tail ends when the script ends, and bounds the wait for a script that does not end.
  {
    ! timeout 5 tail -s 0.1 -f /dev/null --pid="$pid" || wait "$pid" || status=$?
  } 2>/dev/null
  wait_for 5 no_process || fail "processes are left: $(ps -o pid=,args= -p "$(processes | paste -sd ,)")"
  [[ $status -eq $expected ]] || fail "exit status $status, not $expected"
  ! grep -F "$tree" /proc/self/mountinfo || fail "a mount is left"
  # The next run removes what a killed script left.
  [[ $signal != KILL ]] || (run '' "${@:2}") || true
  [[ -z $(work_folders) ]] || fail "files are left: $(work_folders)"
  printf '%-32s %-5s in %-20s nothing left\n' "$command" "$signal" "$hangs"
}

# at_once NAME: sets up one of several concurrent runs, with its own tree and mark.
at_once() {
  tree=$folder/$1
  output=$tree/output
  mark=NPG_SCRIPTS_KILLED_$$_$1
  user=()
  copy_tree "$source" "$tree"
  mkdir -- "$tree/tmp"
  mkfifo -- "$tree/started"
  exec 9<>"$tree/started"
  printf '#!/bin/sh\nprintf "Suite.\\n  Test\\n"\n' >"$tree/build/release/tests/program"
  chmod +x -- "$tree/build/release/tests/program"
  # A compiler that hangs, in the root file system of another release.
  # shellcheck disable=SC2016
  printf '#!/bin/sh\n[ "$STUB_HANGS" != rules ] || exec hangs\nexit 1\n' >"$tree/deploy/debian/rules"
}

source=$1
chmod 755 -- "$folder"
make_stubs "$folder/bin" "$folder/root.tar"
# That root file system has a shell and the stub that hangs.
mkdir -p -- "$folder/root"/{bin,proc,dev}
mapfile -t files < <(ldd /bin/bash /bin/sleep | grep -oE '/[^ :]+' | sort -u)
cp --parents -L -t "$folder/root" -- "${files[@]}"
cp -t "$folder/root/bin" -- "$folder/bin/hangs"
ln -s bash "$folder/root/bin/sh"
tar -C "$folder/root" -cf "$folder/root.tar" .
own=$(sed -nE 's/^VERSION_CODENAME=//p' /etc/os-release)
other=$(sed -nE 's/^readonly DEBIAN_RELEASES=\((.*)\)/\1/p' "$source/scripts/lib/debian.sh" |
  tr ' ' '\n' | grep -vxF "$own" | head -n 1)

runs=()
(
  at_once image
  killed TERM 143 buildah image --base some
  killed INT 130 buildah image --base some
  killed KILL 137 buildah image --base some
  killed HUP 129 mmdebstrap image
) &
runs+=($!)
(
  at_once package
  killed TERM 143 rules package --release "$other"
  killed KILL 137 rules package --release "$other"
  killed INT 130 cmake package
) &
runs+=($!)
(
  at_once kernel-matrix
  killed TERM 143 qemu-system-x86_64 kernel-matrix 5.10
  killed INT 130 qemu-system-x86_64 kernel-matrix 5.10
  killed KILL 137 qemu-system-x86_64 kernel-matrix 5.10
) &
runs+=($!)
(
  # As a user without the privilege to make namespaces.
  at_once user
  user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  chown -R 65534:65534 -- "$tree"
  killed TERM 143 cmake package
  killed KILL 137 cmake package
) &
runs+=($!)
status=0
for run in "${runs[@]}"; do
  wait "$run" 2>/dev/null || status=1
done
exit "$status"
