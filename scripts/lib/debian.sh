# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Root file systems of Debian releases, for scripts/image and scripts/package. Sourced
# after common.sh, which sets `top`.

readonly DEBIAN_RELEASES=(bookworm trixie)

# host_release: prints the release of this machine, such as "bookworm".
host_release() {
  (
    # shellcheck disable=SC1091
    source /etc/os-release
    printf '%s\n' "${VERSION_CODENAME:-}"
  )
}

# source_version, source_revision: print those of this tree, as `nodeport-guard version` does.
source_version() { cmake -P "${top:?}/cmake/PrintVersion.cmake"; }
source_revision() {
  git -C "${top:?}" describe --always --dirty --abbrev=12 '--exclude=*' 2>/dev/null || printf 'unknown'
}
# source_epoch: prints the time of the commit in seconds, which is the time stamp of the results.
source_epoch() {
  printf '%s\n' "${SOURCE_DATE_EPOCH:-$(git -C "${top:?}" log -1 --format=%ct 2>/dev/null || stat -c %Y "$top/VERSION")}"
}

# check_release NAME: usage error unless DEBIAN_RELEASES has it.
check_release() {
  [[ " ${DEBIAN_RELEASES[*]} " == *" $1 "* ]] ||
    die "$EXIT_USAGE" "no release \"$1\"; there are: ${DEBIAN_RELEASES[*]}"
}

# debian_sources RELEASE: prints lines for sources.list, with the mirrors that apt uses on this
# machine, and RELEASE in place of the release of this machine.
debian_sources() {
  local own uri suite lines
  own=$(host_release)
  # shellcheck disable=SC2016
  lines=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(LABEL)' 'Created-By: Packages' |
    awk -v own="$own" '($2 == own || index($2, own "-") == 1) && $3 == "main" && $4 ~ /^Debian/ { print $1, $2 }' |
    sort -u)
  [[ -n $lines ]] ||
    die "$EXIT_NOT_CAPABLE" "apt has no Debian mirror for ${own:-this machine}; is this Debian, and did apt-get update run?"
  while read -r uri suite; do
    printf 'deb %s %s%s main\n' "$uri" "$1" "${suite#"$own"}"
  done <<<"$lines"
}

# wait_for_lock DESCRIPTOR FILE
wait_for_lock() {
  flock --nonblock "$1" && return
  printf 'Waiting for another run that makes the same (%s)\n' "$2"
  flock --timeout 1800 "$1" || die 1 "another run has held $2 for half an hour; is it stuck?"
}

# debian_root RELEASE PACKAGE...: sets `debian_root` to a tar of a root file system with these
# packages, below build/debian. Makes it anew after a week, for updates.
debian_root() {
  local release=$1 folder=${top:?}/build/debian sources key lock temporary merged=() rules drop
  shift
  # Of the two packages that merge /bin and /usr/bin, the one that does not need perl.
  if [[ $release == bookworm ]]; then
    merged=(--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr)
    set -- usr-is-merged "$@"
  fi
  sources=$(debian_sources "$release")
  key=$(printf '%s\n' "$sources" "$(dpkg --print-architecture)" "$@" | sha256sum | cut -c1-12)
  mkdir -p -- "$folder"
  debian_root=$folder/$release-$key.tar
  exec {lock}>"$debian_root.lock"
  wait_for_lock "$lock" "$debian_root.lock"
  if [[ ! -e $debian_root || -n $(find "$debian_root" -mtime +7) ]]; then
    printf 'Making a root of Debian %s with %d packages; takes about a minute\n' "$release" $#
    # In the work folder of a contained script, which is removed with it.
    temporary=${work:-$folder}/${debian_root##*/}.new
    # Remove roots of other package lists that were not used for two weeks.
    find "$folder" -mindepth 1 -maxdepth 1 -mtime +14 -exec rm -rf -- {} +
    # Not with --dpkgopt, for which mmdebstrap runs a Python program for each package that it
    # unpacks without dpkg. So these are unpacked whole, and the same files are then removed.
    # shellcheck disable=SC2016 # $1 is the root
    rules='mkdir -p "$1/etc/dpkg/dpkg.cfg.d" && printf "%s\n" "path-exclude=/usr/share/man/*" \
      "path-exclude=/usr/share/info/*" "path-exclude=/usr/share/locale/*" "path-exclude=/usr/share/doc/*" \
      "path-include=/usr/share/doc/*/copyright" >"$1/etc/dpkg/dpkg.cfg.d/90paths"'
    # shellcheck disable=SC2016 # the same
    drop='cd "$1/usr/share" && rm -rf man/* info/* locale/* && find doc -type f ! -name copyright -delete'
    if mmdebstrap --quiet --mode=root --variant=apt --format=tar "${merged[@]}" --dpkgopt=force-unsafe-io \
      --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
      --setup-hook="$rules" --extract-hook="$drop" --include="$(IFS=,; printf '%s' "$*")" \
      "$release" "$temporary" - <<<"$sources" >"$debian_root.log" 2>&1; then
      mv -- "$temporary" "$debian_root"
    else
      rm -f -- "$temporary"
      [[ -e $debian_root ]] || {
        tail -n 5 -- "$debian_root.log" >&2
        die 1 "mmdebstrap $release failed, see $debian_root.log; does apt-get update work on this machine?"
      }
      printf 'mmdebstrap failed; using the root of %s (log: %s)\n' \
        "$(date -r "$debian_root" +%F)" "$debian_root.log" >&2
    fi
  fi
  exec {lock}>&-
}

# group_packages GROUP: prints the packages of the group in scripts/lib/packages.
group_packages() { awk -v group="$1" '$1 == group { print $2 }' "${top:?}/scripts/lib/packages"; }

# run_packages FILE: prints the Debian packages of the libraries that it is linked with.
run_packages() {
  local listing paths
  listing=$(ldd -- "$1") || die 1 "ldd $1 failed"
  mapfile -t paths < <(grep -oE '/[^ ]+' <<<"$listing" | xargs realpath --)
  # Where /lib is /usr/lib, a file has two names, and dpkg knows one. image-root reports files
  # that dpkg knows by neither.
  { dpkg-query -S "${paths[@]}" "${paths[@]#/usr}" 2>/dev/null || true; } |
    sed -E 's/(:[^:]*)?: .*//' | sort -u
}
