# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the scripts share. Sourced; sets `top`, the root of the tree.

top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)

# The tools live in sbin, which a plain user's PATH often lacks.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

readonly EXIT_USAGE=2
readonly EXIT_NOT_CAPABLE=4

# die STATUS MESSAGE: one line, and out.
die() {
  printf '%s: %s\n' "${0##*/}" "$2" >&2
  exit "$1"
}

need_root() {
  [[ $EUID -eq 0 ]] || die "$EXIT_NOT_CAPABLE" "needs root ($1); try: sudo scripts/${0##*/}"
}

# Under sudo, what was built belongs to the user who ran sudo: a build folder full
# of root's files would fail their next plain scripts/build.
give_back_build() {
  if [[ $EUID -eq 0 && -n ${SUDO_UID:-} && -d $top/build &&
    $(stat -c %u -- "$top") == "$SUDO_UID" ]]; then
    chown -R --no-dereference -- "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$top/build"
  fi
}

# present PROBE: is this on the system, wherever it came from?
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

# missing_packages GROUP...: one line each. dpkg is asked once for all of them;
# what it does not know of may still be there from elsewhere.
missing_packages() {
  local group package probe installed='' packages=() probes=()
  while read -r group package probe; do
    [[ -n $group && $group != '#'* && " $* " == *" $group "* ]] || continue
    packages+=("$package")
    probes+=("$probe")
  done <"$top/scripts/lib/packages"
  [[ ${#packages[@]} -gt 0 ]] || die 1 "scripts/lib/packages: nothing in group $*"
  if command -v dpkg-query >/dev/null; then
    # A package that dpkg never heard of makes it fail; the rest is printed all the same.
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' -- "${packages[@]}" \
      2>/dev/null || true)
  fi
  local i
  for i in "${!packages[@]}"; do
    [[ $'\n'$installed$'\n' == *$'\n'"${packages[i]} installed"$'\n'* ]] && continue
    present "${probes[i]}" || printf '%s\n' "${packages[i]}"
  done
}

# Never removes: where Docker's containerd.io is, Debian's containerd must not replace it.
apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-remove --no-install-recommends \
    -o DPkg::Lock::Timeout=300 -- "$@" </dev/null
}

# install_packages GROUP...: makes the groups' packages be there; asks nothing.
install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [[ ${#missing[@]} -gt 0 ]] || return 0
  command -v apt-get >/dev/null ||
    die "$EXIT_NOT_CAPABLE" "missing, and there is no apt-get to install it (names as in Debian): ${missing[*]}"
  printf 'Missing packages: %s\n' "${missing[*]}"
  [[ $EUID -eq 0 ]] ||
    die "$EXIT_NOT_CAPABLE" "needs root to install them; run: sudo apt-get install ${missing[*]}"
  local updated=0
  if ! apt-cache show -- "${missing[@]}" >/dev/null 2>&1; then
    apt-get update -q </dev/null
    updated=1
  fi
  # Lists that are there may be older than the mirror's files.
  if ! apt_install "${missing[@]}"; then
    [[ $updated -eq 0 ]] || die 1 "apt-get install failed: ${missing[*]}"
    apt-get update -q </dev/null
    apt_install "${missing[@]}" || die 1 "apt-get install failed: ${missing[*]}"
  fi
  # Only its binary is wanted here; the package also starts a service.
  if [[ " ${missing[*]} " == *" containerd "* && -d /run/systemd/system ]]; then
    printf 'Stopping the containerd service that its package started.\n'
    systemctl disable --now --quiet containerd.service
  fi
  if [[ " ${missing[*]} " == *" prometheus "* && -d /run/systemd/system ]]; then
    printf 'Stopping the prometheus service that its package started.\n'
    systemctl disable --now --quiet prometheus.service
  fi
}

# The presets one can build: those of CMakePresets.json that have a build preset.
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

# with_preset PRESET COMMAND...: runs the command as binaries of that preset need it.
# ThreadSanitizer wants its shadow where newer kernels' address randomisation
# (vm.mmap_rnd_bits above 28) may put a library: it aborts at start, sometimes.
with_preset() {
  local preset=$1
  shift
  if [[ $preset == tsan ]] && setarch "$(uname -m)" --addr-no-randomize true 2>/dev/null; then
    set -- setarch "$(uname -m)" --addr-no-randomize "$@"
  fi
  "$@"
}

# configure PRESET: makes build/PRESET ready to be built in, when it is not.
# Ninja runs cmake again by itself when a CMakeLists.txt changes; of presets,
# and of a tree that was moved, it knows nothing.
configure() {
  local build=$top/build/$1
  local configured=$build/.configured
  if [[ ! -e $build/build.ninja || ! -e $configured || $top/CMakePresets.json -nt $configured ]] ||
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$top" "$build/CMakeCache.txt"; then
    with_preset "$1" cmake --fresh -S "$top" --preset "$1"
    touch "$configured"
  fi
}
