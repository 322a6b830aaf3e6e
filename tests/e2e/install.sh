#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install.sh CMAKE BUILD_FOLDER: checks the files that `cmake --install` installs.
set -euo pipefail
cmake=$1
build=$2
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT

# Installs the component only, so that install_manifest.txt, by which the README removes an
# installation, stays that of the administrator.
before=$(cat -- "$build/install_manifest.txt" 2>/dev/null || true)
DESTDIR=$folder "$cmake" --install "$build" --prefix /usr --component nodeport-guard >"$folder/log" ||
  { cat -- "$folder/log"; exit 1; }

# present PATH PATTERN: expects that the installed file contains the pattern.
present() {
  grep -qaE -- "$2" "$folder/usr/$1" || {
    printf 'FAILED: %s: missing, or without a match of "%s"; installed:\n' "$1" "$2" >&2
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
  printf 'FAILED: install_manifest.txt has changed\n' >&2
  exit 1
}
# The list names exactly the installed files.
diff <(cd -- "$folder" && find usr -type f -printf '/%p\n' | sort) \
  <(awk 1 "$build/install_manifest_nodeport-guard.txt" | sort) || {
  printf 'FAILED: the list of installed files differs from the files installed\n' >&2
  exit 1
}
