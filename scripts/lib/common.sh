# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Functions of all scripts. Sourced; sets `top`, the root of the tree.

top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)

# Some tools are in sbin, which the PATH of an ordinary user often lacks.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

readonly EXIT_USAGE=2
readonly EXIT_NOT_CAPABLE=4

# die STATUS MESSAGE: prints the message in one line and exits.
die() {
  printf '%s: %s\n' "${0##*/}" "$2" >&2
  exit "$1"
}

need_root() {
  [[ $EUID -eq 0 ]] || die "$EXIT_NOT_CAPABLE" "needs root ($1); try: sudo scripts/${0##*/}"
}

# Under sudo, gives build/ to the user who ran sudo: files of root would make their next
# scripts/build without sudo fail.
give_back_build() {
  if [[ $EUID -eq 0 && -n ${SUDO_UID:-} && -d $top/build &&
    $(stat -c %u -- "$top") == "$SUDO_UID" ]]; then
    chown -R --no-dereference -- "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$top/build"
  fi
}

# present PROBE: whether this is on the system, from any origin.
present() {
  local what=${1#*:} folder
  case $1 in
    command:*) command -v -- "$what" >/dev/null ;;
    pkg-config:*) command -v pkg-config >/dev/null && pkg-config --exists "$what" ;;
    header:*)
      for folder in /usr/include /usr/local/include; do
        [[ -e $folder/$what ]] && return 0
      done
      return 1
      ;;
    clang-runtime:*) [[ -e $(clang --print-file-name="libclang_rt.$what-$(uname -m).a" 2>/dev/null) ]] ;;
    python3:*) /usr/bin/python3 -c "import $what" 2>/dev/null ;;
    *) die 1 "scripts/lib/packages: unknown probe $1" ;;
  esac
}

# missing_packages GROUP...: prints them, one per line. Queries dpkg once for all; a package
# that dpkg does not know may still be present from another origin.
missing_packages() {
  local group package probe installed='' packages=() probes=()
  while read -r group package probe; do
    [[ -n $group && $group != '#'* && " $* " == *" $group "* ]] || continue
    packages+=("$package")
    probes+=("$probe")
  done <"$top/scripts/lib/packages"
  [[ ${#packages[@]} -gt 0 ]] || die 1 "scripts/lib/packages: nothing in group $*"
  if command -v dpkg-query >/dev/null; then
    # An unknown package makes dpkg-query fail, but it prints the others.
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' -- "${packages[@]}" \
      2>/dev/null || true)
  fi
  local i
  for i in "${!packages[@]}"; do
    [[ $'\n'$installed$'\n' == *$'\n'"${packages[i]} installed"$'\n'* ]] && continue
    present "${probes[i]}" || printf '%s\n' "${packages[i]}"
  done
}

# Never removes packages: Debian's containerd must not replace containerd.io of Docker.
apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-remove --no-install-recommends \
    -o DPkg::Lock::Timeout=300 -- "$@" </dev/null
}

# install_packages GROUP...: installs the missing packages of the groups, without a question.
install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [[ ${#missing[@]} -gt 0 ]] || return 0
  command -v apt-get >/dev/null ||
    die "$EXIT_NOT_CAPABLE" "missing packages, and no apt-get to install them (names of Debian): ${missing[*]}"
  printf 'Missing packages: %s\n' "${missing[*]}"
  [[ $EUID -eq 0 ]] ||
    die "$EXIT_NOT_CAPABLE" "needs root to install them; run: sudo apt-get install ${missing[*]}"
  local updated=0
  if ! apt-cache show -- "${missing[@]}" >/dev/null 2>&1; then
    apt-get update -q </dev/null
    updated=1
  fi
  # The present lists may be older than the files of the mirror.
  if ! apt_install "${missing[@]}"; then
    [[ $updated -eq 0 ]] || die 1 "apt-get install failed: ${missing[*]}"
    apt-get update -q </dev/null
    apt_install "${missing[@]}" || die 1 "apt-get install failed: ${missing[*]}"
  fi
  # The scripts need only the binary, but the package also starts a service.
  if [[ " ${missing[*]} " == *" containerd "* && -d /run/systemd/system ]]; then
    printf 'Stopping the containerd service that its package started.\n'
    systemctl disable --now --quiet containerd.service
  fi
  if [[ " ${missing[*]} " == *" prometheus "* && -d /run/systemd/system ]]; then
    printf 'Stopping the prometheus service that its package started.\n'
    systemctl disable --now --quiet prometheus.service
  fi
}

# The configure presets of CMakePresets.json that have a build preset.
build_presets() {
  sed -nE 's/.*"name": "([^"]+)", "configurePreset".*/\1/p' "$top/CMakePresets.json" | sort -u
}

# check_preset NAME: usage error unless there is such a preset.
check_preset() {
  local presets
  presets=$(build_presets)
  [[ -n $presets ]] || die 1 "CMakePresets.json: no build presets found"
  grep -qxF -e "$1" <<<"$presets" ||
    die "$EXIT_USAGE" "no preset \"$1\"; there are: ${presets//$'\n'/ }"
}

# with_preset PRESET COMMAND...: runs the command in the environment that binaries of that
# preset need. ThreadSanitizer sometimes aborts at start, because the address randomisation
# of newer kernels (vm.mmap_rnd_bits above 28) may put a library where its shadow must be.
with_preset() {
  local preset=$1
  shift
  if [[ $preset == tsan ]] && setarch "$(uname -m)" --addr-no-randomize true 2>/dev/null; then
    set -- setarch "$(uname -m)" --addr-no-randomize "$@"
  fi
  "$@"
}

# configure PRESET: configures build/PRESET if necessary. Ninja runs cmake again when a
# CMakeLists.txt changes, but not when a preset changes or the tree was moved.
configure() {
  local build=$top/build/$1
  local configured=$build/.configured
  if [[ ! -e $build/build.ninja || ! -e $configured || $top/CMakePresets.json -nt $configured ]] ||
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$top" "$build/CMakeCache.txt"; then
    with_preset "$1" cmake --fresh -S "$top" --preset "$1"
    touch "$configured"
  fi
}
