#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install.sh CMAKE BUILD_FOLDER: what `cmake --install` puts where.
set -euo pipefail
cmake=$1
build=$2
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT

DESTDIR=$folder "$cmake" --install "$build" --prefix /usr >"$folder/log" ||
  { cat -- "$folder/log"; exit 1; }

# present PATH PATTERN: the installed file holds the pattern.
present() {
  grep -qaE -- "$2" "$folder/usr/$1" || {
    printf 'FAILED: %s: not there, or nothing in it like "%s"; installed:\n' "$1" "$2" >&2
    find "$folder/usr" -type f >&2
    exit 1
  }
}

present bin/nodeport-guard ELF
"$folder/usr/bin/nodeport-guard" version >"$folder/version"
grep -q '^nodeport-guard [0-9]' "$folder/version"
present share/man/man8/nodeport-guard.8 '^\.TH '
present share/bash-completion/completions/nodeport-guard 'complete '
present "share/zsh/$(basename "$(dirname "$folder"/usr/share/zsh/*/_nodeport-guard)")/_nodeport-guard" '#compdef'
present lib/systemd/system/nodeport-guard.service '^ExecStart=/.*/bin/nodeport-guard run'
