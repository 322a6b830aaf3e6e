# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Kernels of Debian, for scripts/kernel-matrix. Sourced after common.sh.

# shellcheck source=scripts/lib/own_apt.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/own_apt.sh"

# update_kernel_lists FOLDER: updates the package lists, at most once a day.
update_kernel_lists() {
  local folder=$1 main security suite lines=()
  main=$(mirror_of "$DEBIAN")
  security=$(mirror_of -security)
  [[ -n $main ]] || die "$EXIT_NOT_CAPABLE" "apt has no Debian mirror to download kernels from"
  for suite in bullseye bookworm trixie bookworm-backports trixie-backports; do
    lines+=("$main $suite main")
  done
  [[ -z $security ]] || for suite in bullseye bookworm trixie; do
    lines+=("$security $suite-security main")
  done
  update_own_apt "$folder" "${lines[@]}"
}

# newest_release SERIES FOLDER: prints the newest standard kernel, neither cloud nor real-time.
newest_release() {
  own_apt "$2" apt-cache pkgnames "linux-image-$1." |
    sed -nE 's/^linux-image-([0-9.]+(-[0-9]+)?(\+deb[0-9]+)?-amd64)(-unsigned)?$/\1/p' | sort -uV | tail -n 1
}

# fetch_kernel SERIES FOLDER SCRATCH: unpacks the newest kernel into FOLDER/RELEASE (vmlinuz,
# lib/modules/RELEASE), unless it exists, and prints RELEASE. SCRATCH is a folder on the same
# file system.
fetch_kernel() {
  local series=$1 folder=$2 scratch=$3/fetch release package packages=()
  update_kernel_lists "$folder" >&2
  release=$(newest_release "$series" "$folder")
  if [[ -z $release ]]; then
    printf 'kernel-matrix: the mirror has no kernel %s\n' "$series" >&2
    return 1
  fi
  if [[ ! -e $folder/$release/vmlinuz ]]; then
    # The unsigned package has the same kernel. Newer releases have the modules in another package.
    for package in "linux-image-$release-unsigned" "linux-image-$release" "linux-binary-$release" \
      "linux-modules-$release"; do
      [[ ${#packages[@]} -eq 1 && $package == "linux-image-$release" ]] && continue
      own_apt "$folder" apt-cache show "$package" >/dev/null 2>&1 && packages+=("$package")
    done
    rm -rf -- "$scratch"
    mkdir -p -- "$scratch/root"
    (cd -- "$scratch" && own_apt "$folder" apt-get download "${packages[@]}") >&2 || return 1
    for package in "$scratch"/*.deb; do dpkg-deb -x "$package" "$scratch/root" || return 1; done
    mkdir -p -- "$scratch/kernel/lib"
    if [[ -d $scratch/root/usr/lib/modules ]]; then
      mv -- "$scratch/root/usr/lib/modules" "$scratch/kernel/lib/"
    else
      mv -- "$scratch/root/lib/modules" "$scratch/kernel/lib/"
    fi
    depmod -b "$scratch/kernel" "$release" >&2 || return 1
    # One rename at the end, so that an existing folder is complete.
    find "$scratch/root" -type f -name 'vmlinuz*' -exec cp -- {} "$scratch/kernel/vmlinuz" \;
    [[ -e $scratch/kernel/vmlinuz ]] || return 1
    rm -rf -- "${folder:?}/$release"
    mv -- "$scratch/kernel" "$folder/$release"
    rm -rf -- "$scratch"
  fi
  printf '%s\n' "$release"
}
