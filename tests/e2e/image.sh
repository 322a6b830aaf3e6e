#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# image.sh SOURCE_TREE GUARD [MANIFEST]: builds the container image twice, checks its content, and
# runs it as the DaemonSet of the manifest says, by default that of deploy/base with the component
# reserve-ports.
set -euo pipefail
top=$1
guard=$2
here=$(dirname -- "${BASH_SOURCE[0]}")
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
trap 'exit 130' HUP INT TERM

fail() {
  printf 'FAILED: %s\n' "$1" >&2
  exit 1
}

builds=()
for build in 1 2; do
  "$top/scripts/image" --guard "$guard" --output "$folder/$build" &
  builds+=($!)
done
for build in "${builds[@]}"; do
  wait "$build" || fail "scripts/image ended with $?"
done
digest=$(<"$folder/1/nodeport-guard.digest")
[[ $digest == sha256:* && $digest == "$(<"$folder/2/nodeport-guard.digest")" ]] ||
  fail "two builds of the same have the digests $digest and $(<"$folder/2/nodeport-guard.digest")"
cmp -- "$folder"/[12]/nodeport-guard.spdx.json || fail "two builds of the same have different SBOMs"

image=$folder/1/nodeport-guard.oci.tar
/usr/bin/python3 "$here/image_content.py" "$image" "$folder/1/nodeport-guard.spdx.json" "$digest"
manifest=${3:-}
if [[ -z $manifest ]]; then
  # With the sysctl of the node, which is a file below /proc.
  cp -r -- "$top/deploy" "$folder/deploy"
  mkdir -- "$folder/deploy/test"
  printf '%s\n' 'resources: [../base]' 'components: [../components/reserve-ports]' >"$folder/deploy/test/kustomization.yaml"
  kubectl=${NPG_KUBECTL:-$("$top/scripts/lib/kubectl" "$top/build/kubectl")}
  manifest=$folder/daemonset.yaml
  "$kubectl" kustomize "$folder/deploy/test" >"$manifest"
fi
"$here/image_runs.sh" "$image" "$manifest"
