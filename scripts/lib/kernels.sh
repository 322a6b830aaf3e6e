# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Debian's kernels, for scripts/kernel-matrix. Sourced after common.sh.

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

# update_kernel_lists FOLDER: once a day is enough.
update_kernel_lists() {
  local folder=$1 main security suite
  local stamp=$folder/apt/updated key=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ -z $(find "$stamp" -mmin -1440 2>/dev/null) ]] || return 0
  mkdir -p -- "$folder/apt/lists/partial" "$folder/apt/cache"
  main=$(mirror_of '^(bullseye|bookworm|trixie|stable)$')
  security=$(mirror_of -security)
  [[ -n $main ]] || die "$EXIT_NOT_CAPABLE" "apt has no source of Debian here: no kernels"
  {
    for suite in bullseye bookworm trixie bookworm-backports trixie-backports; do
      printf 'deb [signed-by=%s] %s %s main\n' "$key" "$main" "$suite"
    done
    [[ -z $security ]] || for suite in bullseye bookworm trixie; do
      printf 'deb [signed-by=%s] %s %s-security main\n' "$key" "$security" "$suite"
    done
  } >"$folder/apt/sources.list"
  # A suite that the mirror has no longer is no reason to do without the others.
  own_apt "$folder" apt-get update || printf 'kernel-matrix: not every suite could be read\n' >&2
  touch -- "$stamp"
}

# newest_release SERIES FOLDER: of the plain kernels, neither cloud nor real-time.
newest_release() {
  own_apt "$2" apt-cache pkgnames "linux-image-$1." |
    sed -nE 's/^linux-image-([0-9.]+(-[0-9]+)?(\+deb[0-9]+)?-amd64)(-unsigned)?$/\1/p' | sort -uV | tail -n 1
}

# fetch_kernel SERIES FOLDER: unpacks the newest kernel into FOLDER/RELEASE (vmlinuz,
# lib/modules/RELEASE), unless it is there, and prints RELEASE.
fetch_kernel() {
  local series=$1 folder=$2 release package packages=() work
  update_kernel_lists "$folder" >&2
  release=$(newest_release "$series" "$folder")
  if [[ -z $release ]]; then
    printf 'kernel-matrix: the mirror has no kernel %s\n' "$series" >&2
    return 1
  fi
  if [[ ! -e $folder/$release/vmlinuz ]]; then
    # The unsigned one is the same kernel. Newer releases have the modules elsewhere.
    for package in "linux-image-$release-unsigned" "linux-image-$release" "linux-binary-$release" \
      "linux-modules-$release"; do
      [[ ${#packages[@]} -eq 1 && $package == "linux-image-$release" ]] && continue
      own_apt "$folder" apt-cache show "$package" >/dev/null 2>&1 && packages+=("$package")
    done
    work=$folder/fetch
    rm -rf -- "$work"
    mkdir -p -- "$work/root"
    (cd -- "$work" && own_apt "$folder" apt-get download "${packages[@]}") >&2 || return 1
    for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/root" || return 1; done
    mkdir -p -- "$work/kernel/lib"
    if [[ -d $work/root/usr/lib/modules ]]; then
      mv -- "$work/root/usr/lib/modules" "$work/kernel/lib/"
    else
      mv -- "$work/root/lib/modules" "$work/kernel/lib/"
    fi
    depmod -b "$work/kernel" "$release" >&2 || return 1
    # Last, and whole: what is there is complete.
    find "$work/root" -type f -name 'vmlinuz*' -exec cp -- {} "$work/kernel/vmlinuz" \;
    [[ -e $work/kernel/vmlinuz ]] || return 1
    rm -rf -- "${folder:?}/$release"
    mv -- "$work/kernel" "$folder/$release"
    rm -rf -- "$work"
  fi
  printf '%s\n' "$release"
}
