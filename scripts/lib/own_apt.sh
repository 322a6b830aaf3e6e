# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Packages of other Debian releases, from the mirror of this machine, to unpack and not to
# install. Sourced after common.sh.

# shellcheck disable=SC2034 # for mirror_of
readonly DEBIAN='^(bullseye|bookworm|trixie|stable)$'

# own_apt FOLDER COMMAND...: runs apt with its own state in FOLDER, for other releases of Debian,
# without changes to the state of this machine.
own_apt() {
  local folder=$1 command=$2
  shift 2
  "$command" -q=2 -o "Dir::Etc::SourceList=$folder/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o "Dir::State::Lists=$folder/apt/lists" -o "Dir::Cache=$folder/apt/cache" \
    -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
}

# mirror_of SUITE_PATTERN: prints the mirror from which this machine gets that suite.
mirror_of() {
  # shellcheck disable=SC2016 # variables of apt
  apt-get indextargets --format '$(RELEASE) $(REPO_URI)' |
    awk -v pattern="$1" '$1 ~ pattern { print $2; exit }'
}

# update_own_apt FOLDER LINE...: updates the lists of these sources ("MIRROR SUITE COMPONENT"),
# at most once a day.
update_own_apt() {
  local folder=$1 line
  local stamp=$folder/apt/updated key=/usr/share/keyrings/debian-archive-keyring.gpg
  shift
  [[ -z $(find "$stamp" -mmin -1440 2>/dev/null) ]] || return 0
  mkdir -p -- "$folder/apt/lists/partial" "$folder/apt/cache"
  for line in "$@"; do printf 'deb [signed-by=%s] %s\n' "$key" "$line"; done >"$folder/apt/sources.list"
  # The other suites are usable if the mirror no longer has one of them.
  own_apt "$folder" apt-get update || printf '%s: not every suite could be read\n' "${0##*/}" >&2
  touch -- "$stamp"
}
