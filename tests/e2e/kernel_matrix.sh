#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kernel_matrix.sh SOURCE_TREE: tests scripts/kernel-matrix with a stub in place of qemu:
# whether it uses KVM, and how it reports results.
set -euo pipefail
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
folder=$(mktemp -d)
trap 'rm -rf --one-file-system -- "$folder"' EXIT
trap 'exit 130' HUP INT TERM

# shellcheck source=tests/e2e/stub_tree.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/stub_tree.sh"

make_stubs "$folder/bin" ''
tree=$folder/tree
copy_tree "$1" "$tree"

# The stub of qemu runs the programs that the guest would. STUB_KVM selects how KVM fails.
rm -- "$folder/bin/qemu-system-x86_64"
cat >"$folder/bin/qemu-system-x86_64" <<'TEXT'
#!/usr/bin/env bash
set -euo pipefail
printf '%s\n' "$2" >>"$STUB_FOLDER/accelerations"
case "$2 ${STUB_KVM:-}" in
  'kvm silent') exec sleep 60 ;;
  'kvm broken') echo 'qemu: no KVM today' >&2 && exit 1 ;;
esac
echo 'Linux version'
out=$(sed -E 's/.*local,path=([^ ]+),mount_tag=out.*/\1/' <<<"$*")
export STUB_KERNEL=${out##*/}
sed -n '/^(cd /p' "$out/guest" | sed "s|/run/out|$out|" | bash -eu
[[ ${STUB_ENDS:-} == early ]] || touch "$out/ended"
TEXT
# A test program. Its tests with "Lacking" in their names fail on 5.10, and one is skipped.
cat >"$tree/build/release/tests/program" <<'TEXT'
#!/usr/bin/env bash
set -euo pipefail
tests=(Rules/Fake.One/a Rules/Fake.Lacking/a Rules/Fake.Lacking/b Rules/Fake.Skipped/b Plain.Two)
for argument; do
  case $argument in
    --gtest_filter=*) IFS=: read -ra patterns <<<"${argument#*=}" ;;
    --gtest_list_tests) list=1 ;;
  esac
done
chosen=()
for test in "${tests[@]}"; do
  for pattern in "${patterns[@]}"; do
    if [[ $test == $pattern ]]; then
      chosen+=("$test")
      break
    fi
  done
done
if [[ -n ${list:-} ]]; then
  echo 'Running main() from gtest_main.cc'
  for test in "${chosen[@]}"; do printf '%s.\n  %s  # GetParam() = x\n' "${test%%.*}" "${test#*.}"; done
  exit
fi
failed=()
printf '[==========] Running %d tests from 2 test suites.\n' "${#chosen[@]}"
for test in "${chosen[@]}"; do
  printf '[ RUN      ] %s\n' "$test"
  case "$STUB_KERNEL $test ${STUB_TESTS:-}" in
    *' ends') exit 139 ;;
    5.10.*/a' lack passes') outcome='       OK' ;;
    5.10.*Lacking* | *Plain.Two' fails') outcome='  FAILED ' ;;
    5.10.*Skipped* | *Plain.Two' skips') outcome='  SKIPPED ' ;;
    *) outcome='       OK' ;;
  esac
  case $outcome$test in
    *FAILED*/*) printf '[%s ] %s, where GetParam() = x (12 ms)\n' "${outcome% }" "$test" ;;
    *) printf '[%s ] %s (1 ms)\n' "${outcome% }" "$test" ;;
  esac
done
printf '[----------] Global test environment tear-down\n'
printf '[==========] %d tests from 2 test suites ran. (12 ms total)\n' "${#chosen[@]}"
printf '[  FAILED  ] 1 test, listed below:\n[  FAILED  ] Plain.Two\n'
TEXT
chmod +x -- "$folder/bin/qemu-system-x86_64" "$tree/build/release/tests/program"
printf '# A comment.\n\n5.10  FAKE  */Fake.Lacking/*\n5.10  FAKE  */Fake.Skipped/*\n' >"$tree/scripts/lib/kernel-lacks"
touch -- "$folder/kvm"

# check STATUS VARIABLE... -- ARGUMENT...: runs kernel-matrix, and expects that each pattern on
# standard input matches a line of its output.
check() {
  local expected=$1 variables=() pattern status=0
  shift
  while [[ $1 != -- ]]; do
    variables+=("$1")
    shift
  done
  shift
  : >"$folder/accelerations"
  env STUB_FOLDER="$folder" NPG_VM_KVM="$folder/none" "${variables[@]}" "$tree/scripts/kernel-matrix" "$@" \
    >"$folder/output" 2>&1 </dev/null || status=$?
  while read -r pattern; do
    grep -qxE -- "$pattern" "$folder/output" || {
      printf 'FAILED: %s: no line is "%s" in:\n' "${variables[*]} $*" "$pattern" >&2
      cat -- "$folder/output" >&2
      exit 1
    }
  done
  [[ $status -eq $expected ]] || {
    printf 'FAILED: %s: exit status %s, not %s:\n' "${variables[*]} $*" "$status" "$expected" >&2
    cat -- "$folder/output" >&2
    exit 1
  }
}

# accelerations EXPECTED: expects the accelerators of the machines that were started.
accelerations() {
  local got
  got=$(paste -sd ' ' "$folder/accelerations")
  [[ $got == "$1" ]] || {
    printf 'FAILED: machines were started with "%s", not with "%s"\n' "$got" "$1" >&2
    exit 1
  }
}

# If a guest prints nothing with KVM, KVM is not tried again. Lacking features are no failure.
check 0 NPG_VM_KVM="$folder/kvm" NPG_VM_PATIENCE=1 STUB_KVM=silent -- 5.10 6.1 <<TEXT
The guests run in emulation, which is ten times slower: $folder/kvm is there, but with it a guest printed nothing in 1 s
5.10.0-99-amd64: [0-9]+ s: suite: 5 of 5 tests, ended
5.10.0-99-amd64 +suite +2 passed, 2 failed as expected, 1 skipped as expected \(no FAKE\)
6.1.0-98-amd64 +suite +5 passed
TEXT
accelerations 'kvm tcg,thread=multi tcg,thread=multi'

check 0 NPG_VM_KVM="$folder/kvm" STUB_KVM=broken -- 5.10 <<TEXT
The guests run in emulation, .* with it qemu ended \(last line: qemu: no KVM today\)
TEXT
accelerations 'kvm tcg,thread=multi'

check 1 NPG_VM_KVM="$folder/kvm" STUB_TESTS='lack passes' -- 5.10 6.1 <<TEXT
The guests run with KVM
kernel-matrix: 5.10.0-99-amd64: Rules/Fake.Lacking/a passed, though .*FAKE.*
5.10.0-99-amd64 +suite +2 passed, 1 failed as expected, 1 skipped as expected \(no FAKE\), 1 PASSED UNEXPECTEDLY
6.1.0-98-amd64 +suite +5 passed
TEXT
accelerations 'kvm kvm'

check 1 STUB_TESTS=fails -- 5.10 <<TEXT
The guests run in emulation, .* there is no $folder/none to write to
kernel-matrix: 5.10.0-99-amd64: Plain.Two: FAILED, see .*/suite.log
5.10.0-99-amd64 +suite +1 passed, 2 failed as expected, 1 skipped as expected \(no FAKE\), 1 FAILED
TEXT
accelerations 'tcg,thread=multi'

check 1 STUB_TESTS=skips -- 6.1 <<TEXT
kernel-matrix: 6.1.0-98-amd64: Plain.Two: SKIPPED, see .*/suite.log
6.1.0-98-amd64 +suite +4 passed, 1 FAILED
TEXT

check 1 STUB_TESTS=ends STUB_ENDS=early -- 6.1 -- 'Plain.*' <<TEXT
kernel-matrix: 6.1.0-98-amd64: ended early; its console:
6.1.0-98-amd64 +suite +0 passed, DID NOT END \(1 tests\)
TEXT

# With a filter, a line of kernel-lacks may match no chosen test.
check 0 -- 5.10 -- '*One*:Plain.*' <<TEXT
5.10.0-99-amd64 +suite +2 passed
TEXT
check 1 -- 5.10 -- 'Nothing.*' <<TEXT
kernel-matrix: no test of these suites matches Nothing.*: suite
TEXT
printf '5.10  FAKE  */Gone.*\n' >>"$tree/scripts/lib/kernel-lacks"
check 1 -- 5.10 <<TEXT
kernel-matrix: scripts/lib/kernel-lacks: no test matches \*/Gone.\* \(5.10, FAKE\): remove that line
TEXT
