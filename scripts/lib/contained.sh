# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For long-running scripts: all processes that they start end with them, however they end, and
# their work folder is removed. Sourced after common.sh.

# make_work_folder PARENT: sets `work` to a new folder below PARENT that only this user can
# enter, and removes the folders of killed runs. A run holds a lock on its own folder.
make_work_folder() {
  local parent=$1 gate folder
  mkdir -p -- "$parent" || die 1 "cannot make the folder $parent; who owns ${top:?}/build?"
  # Held until the new folder has its lock, so that no other run removes it as abandoned.
  exec {gate}<"$parent"
  flock "$gate" || die 1 "cannot lock the folder $parent"
  for folder in "$parent"/work.*; do
    # Fails while its run is active, and if another user owns it.
    [[ ! -d $folder ]] || flock --nonblock "$folder" rm -rf --one-file-system -- "$folder" 2>/dev/null || true
  done
  work_folder=$(mktemp -d -- "$parent/work.XXXXXX") || die 1 "cannot make a folder in $parent; is it writable?"
  exec {work_lock}<"$work_folder"
  flock "$work_lock"
  exec {gate}>&-
  # apt drops the privileges of root for downloads, and must still reach files in tmp.
  chmod 711 -- "$work_folder"
  mkdir -m 711 -- "$work_folder/tmp"
  mkdir -m 700 -- "$work_folder/work"
  work=$work_folder/work
}

# contained PARENT ARGUMENT...: starts this script again with these arguments, and exits with its
# status. In the second run `contained` only sets `work` to an empty folder below PARENT, and
# returns. All processes of the second run end with the first. The reason for two runs: bash
# handles a signal at once while it waits for a background process, but only at the end of a
# foreground process, such as a compiler.
contained() {
  local parent=$1 enter=(unshare --pid --kill-child --mount-proc)
  shift
  if [[ -n ${NPG_CONTAINED:-} ]]; then
    # shellcheck disable=SC2034 # used by the caller
    work=$NPG_CONTAINED/work
    export TMPDIR=$NPG_CONTAINED/tmp
    # A script that the second run starts must not inherit this.
    unset NPG_CONTAINED
    return
  fi
  contained_pipe=''
  work_folder=''
  trap leave_contained EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  make_work_folder "$parent"
  # The mounts of a mount namespace and the processes of a pid namespace end with its first
  # process. Without privileges for namespaces, lib/contained-run ends its session.
  "${enter[@]}" true 2>/dev/null || enter=()
  # This shell has the only write end of the pipe, which also closes if the shell is killed.
  # shellcheck disable=SC2093 # the exec is in its own process
  exec {contained_pipe}> >(NPG_CONTAINED=$work_folder exec setsid "${enter[@]}" \
    "$top/scripts/lib/contained-run" "$top/scripts/${0##*/}" "$@")
  wait "$!"
  exit
}

leave_contained() {
  local status=$?
  trap - EXIT
  # A second signal must not interrupt the removal of the folder.
  trap '' HUP INT TERM
  if [[ -n $contained_pipe ]]; then
    exec {contained_pipe}>&-
    # Waits until its last process has ended.
    wait "$!" 2>/dev/null || true
  fi
  [[ -z $work_folder ]] || rm -rf --one-file-system -- "$work_folder" || status=1
  give_back_build
  exit "$status"
}
