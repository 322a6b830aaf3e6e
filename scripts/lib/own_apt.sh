# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Packages of Debian releases that are none of this machine's, from where it has its
# own, to be unpacked and not installed. Sourced after common.sh.

# shellcheck disable=SC2034 # for mirror_of
readonly DEBIAN='^(bullseye|bookworm|trixie|stable)$'

# own_apt FOLDER COMMAND...: apt with a state of its own, so that releases of Debian
# which are none of this machine's can be asked for, and nothing here changes.
own_apt() {
  local folder=$1 command=$2
  shift 2
  "$command" -q=2 -o "Dir::Etc::SourceList=$folder/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o "Dir::State::Lists=$folder/apt/lists" -o "Dir::Cache=$folder/apt/cache" \
    -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
}

# mirror_of SUITE_PATTERN: where this machine gets that suite from.
mirror_of() {
  # shellcheck disable=SC2016 # apt's own variables
  apt-get indextargets --format '$(RELEASE) $(REPO_URI)' |
    awk -v pattern="$1" '$1 ~ pattern { print $2; exit }'
}

# update_own_apt FOLDER LINE...: the lists of these sources ("MIRROR SUITE COMPONENT");
# once a day is enough.
update_own_apt() {
  local folder=$1 line
  local stamp=$folder/apt/updated key=/usr/share/keyrings/debian-archive-keyring.gpg
  shift
  [[ -z $(find "$stamp" -mmin -1440 2>/dev/null) ]] || return 0
  mkdir -p -- "$folder/apt/lists/partial" "$folder/apt/cache"
  for line in "$@"; do printf 'deb [signed-by=%s] %s\n' "$key" "$line"; done >"$folder/apt/sources.list"
  # A suite that the mirror has no longer is no reason to do without the others.
  own_apt "$folder" apt-get update || printf '%s: not every suite could be read\n' "${0##*/}" >&2
  touch -- "$stamp"
}
