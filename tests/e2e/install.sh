#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install.sh CMAKE BUILD_FOLDER: what `cmake --install` puts where.
set -euo pipefail
cmake=$1
build=$2
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT

# By its component, so that the list of what an administrator has installed stays theirs:
# the README removes by it.
before=$(cat -- "$build/install_manifest.txt" 2>/dev/null || true)
DESTDIR=$folder "$cmake" --install "$build" --prefix /usr --component nodeport-guard >"$folder/log" ||
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
[[ $before == "$(cat -- "$build/install_manifest.txt" 2>/dev/null || true)" ]] || {
  printf 'FAILED: install_manifest.txt is another one\n' >&2
  exit 1
}
# The list has all of it, and nothing else.
diff <(cd -- "$folder" && find usr -type f -printf '/%p\n' | sort) \
  <(awk 1 "$build/install_manifest_nodeport-guard.txt" | sort) || {
  printf 'FAILED: the list of installed files is not of what was installed\n' >&2
  exit 1
}
