#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# package.sh SOURCE_TREE BUILD_FOLDER: builds the Debian package, which lintian checks, and
# installs, runs, upgrades, removes and purges it in a Debian of its release. Does the same with
# the package for Debian 13 if scripts/package --release trixie has made it; with
# NPG_PACKAGE_TRIXIE=1 makes it.
set -euo pipefail
build=$2
# shellcheck source=scripts/lib/common.sh
source "$1/scripts/lib/common.sh"
# shellcheck source=scripts/lib/debian.sh
source "$top/scripts/lib/debian.sh"
here=$(realpath -- "$(dirname -- "${BASH_SOURCE[0]}")")
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
trap 'exit 130' HUP INT TERM

"$top/scripts/package" --build "$build" --output "$folder"
mapfile -t wanted < <(group_packages image && run_packages "$build/nodeport-guard")
debian_root "$(host_release)" "${wanted[@]}"
"$here/package_runs.sh" "$folder"/nodeport-guard_*.deb "${debian_root:?}"

if [[ $(host_release) != trixie ]]; then
  [[ ${NPG_PACKAGE_TRIXIE:-} != 1 ]] || "$top/scripts/package" --release trixie
  shopt -s nullglob
  made=("$top"/build/package/trixie/nodeport-guard_*.deb)
  trixie=${made[0]:-}
  if [[ -z $trixie ]]; then
    printf 'Debian 13: skipped, no package in build/package/trixie (make one with scripts/package --release trixie)\n'
  else
    mapfile -t wanted < <(dpkg-deb --field "$trixie" Depends Recommends |
      sed -E 's/^[A-Za-z-]+: //; s/ \([^)]*\)//g; s/ \|[^,]*//g' | tr -d ' ' | tr ',' '\n')
    own=$(dpkg-deb --field "$folder"/nodeport-guard_*.deb Version)
    version=$(dpkg-deb --field "$trixie" Version)
    [[ ${#made[@]} -eq 1 && ${version%+deb*} == "${own%+deb*}" ]] || {
      printf 'FAILED: build/package/trixie has %s, but this tree is %s; make it with scripts/package --release trixie\n' \
        "${made[*]##*/}" "${own%+deb*}" >&2
      exit 1
    }
    debian_root trixie "${wanted[@]}"
    "$here/package_runs.sh" "$trixie" "$debian_root"
  fi
fi
