# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For tests of scripts whose real work takes long or needs other tools: a copy of the tree, and
# stubs of the programs that the scripts call. The stub named by STUB_HANGS starts processes,
# writes a line to descriptor 9, and waits for them.
readonly kernels=(5.10.0-99-amd64 6.1.0-98-amd64)

# copy_tree SOURCE_TREE NEW_FOLDER: copies the tree. The copy of kernel-matrix has one suite,
# "suite", of the program build/release/tests/program.
copy_tree() {
  local kernel
  mkdir -- "$2"
  (cd -- "$1" && cp -R -t "$2" -- CMakeLists.txt CMakePresets.json VERSION LICENSE README.md CHANGELOG.md \
    LICENSES bpf cmake deploy scripts userspace)
  sed -i '/^suites=(/,/^)/c\suites=("suite tests/program *")' "$2/scripts/kernel-matrix"
  # Downloaded kernels, and package lists that are new enough.
  mkdir -p -- "$2/build/release/tests" "$2/build/kernels/apt"
  touch -- "$2/build/kernels/apt/updated"
  for kernel in "${kernels[@]}"; do
    mkdir -p -- "$2/build/kernels/$kernel/lib/modules"
    touch -- "$2/build/kernels/$kernel/vmlinuz"
  done
}

# make_stubs NEW_FOLDER ROOT_TAR: makes the stubs and puts their folder first in PATH. The stub of
# mmdebstrap returns ROOT_TAR.
make_stubs() {
  local bin=$1 name own
  own=$(sed -nE 's/^VERSION_CODENAME=//p' /etc/os-release)
  mkdir -- "$bin"
  cat >"$bin/hangs" <<'TEXT'
#!/bin/bash
# One process in its own group, like those of ninja, and one whose parent has ended.
(sleep 60 &)
set -m
sleep 60 &
echo started >&9
wait
TEXT
  cat >"$bin/stub" <<TEXT
#!/usr/bin/env bash
set -euo pipefail
name=\${0##*/}
[[ \${STUB_HANGS:-} != "\$name" ]] || case "\$name \$*" in
  'cmake -P '* | 'buildah pull '*) ;;
  *) exec "$bin/hangs" ;;
esac
case "\$name \$*" in
  'cmake -P '*) exec "$(command -v cmake)" "\$@" ;;
  'apt-get '*'\$(LABEL)'*) printf 'http://mirror.invalid/ $own main Debian\n' ;;
  'apt-get '*) printf 'bookworm http://mirror.invalid/\n' ;;
  # Prints the names that begin with its last argument.
  'apt-cache '*) printf 'linux-image-%s\n' ${kernels[*]} | grep -F -- "\${*: -1}" ;;
  'cpio '*) cat >/dev/null ;;
  'mmdebstrap '*) cp -- "$2" "\${*: -2:1}" ;;
  # The step after the stubs fails.
  'buildah bud '* | 'qemu-system-x86_64 '*) exit 1 ;;
esac
TEXT
  chmod +x -- "$bin"/*
  for name in apt-cache apt-get buildah cmake cpio mmdebstrap qemu-system-x86_64; do
    ln -s stub "$bin/$name"
  done
  for name in busybox ipvsadm modprobe xz zstd; do
    ln -s /bin/true "$bin/$name"
  done
  export PATH=$bin:$PATH
}
