# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For scripts that run for minutes: the processes that they start end with them, however
# they end, and their work folder is removed. Sourced after common.sh.

# make_work_folder PARENT: sets `work`, a new folder below PARENT that only this user
# can enter, and removes those of runs that were killed. A run holds a lock on its own.
make_work_folder() {
  local parent=$1 gate folder
  mkdir -p -- "$parent" || die 1 "cannot make the folder $parent; who owns ${top:?}/build?"
  # Held until the new folder has its lock, so that no other run takes it for left.
  exec {gate}<"$parent"
  flock "$gate" || die 1 "cannot lock the folder $parent"
  for folder in "$parent"/work.*; do
    # Fails while its run is there, and where it is another user's.
    [[ ! -d $folder ]] || flock --nonblock "$folder" rm -rf --one-file-system -- "$folder" 2>/dev/null || true
  done
  work_folder=$(mktemp -d -- "$parent/work.XXXXXX") || die 1 "cannot make a folder in $parent; is it writable?"
  exec {work_lock}<"$work_folder"
  flock "$work_lock"
  exec {gate}>&-
  # apt drops root's rights to download and must then still reach what is in tmp.
  chmod 711 -- "$work_folder"
  mkdir -m 711 -- "$work_folder/tmp"
  mkdir -m 700 -- "$work_folder/work"
  work=$work_folder/work
}

# contained PARENT ARGUMENT...: starts this script again, with these arguments, and ends
# with its status. In that second run `contained` only sets `work`, an empty folder below
# PARENT, and returns. Everything that the second run starts ends with the first: bash acts
# on a signal at once while it waits for a process in the background, but only at the
# end of one in the foreground, which here would be a compiler.
contained() {
  local parent=$1 enter=(unshare --pid --kill-child --mount-proc)
  shift
  if [[ -n ${NPG_CONTAINED:-} ]]; then
    # shellcheck disable=SC2034 # the caller's
    work=$NPG_CONTAINED/work
    export TMPDIR=$NPG_CONTAINED/tmp
    # A script that the second run starts is not contained by this.
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
  # process. Without the privilege for that, lib/contained-run ends those of its session.
  "${enter[@]}" true 2>/dev/null || enter=()
  # This shell holds the only writing end of the pipe: it closes also when the shell is killed.
  # shellcheck disable=SC2093 # the exec is in a process of its own
  exec {contained_pipe}> >(NPG_CONTAINED=$work_folder exec setsid "${enter[@]}" \
    "$top/scripts/lib/contained-run" "$top/scripts/${0##*/}" "$@")
  wait "$!"
  exit
}

leave_contained() {
  local status=$?
  trap - EXIT
  # A second signal must not leave half of the folder.
  trap '' HUP INT TERM
  if [[ -n $contained_pipe ]]; then
    exec {contained_pipe}>&-
    # Until its last process has ended.
    wait "$!" 2>/dev/null || true
  fi
  [[ -z $work_folder ]] || rm -rf --one-file-system -- "$work_folder" || status=1
  give_back_build
  exit "$status"
}
