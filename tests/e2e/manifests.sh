#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# manifests.sh GUARD SOURCE_TREE: compares the manifests of deploy/ with the binary, on a
# private node that looks to the guard as a real node does to a pod.
set -euo pipefail
top=$2

# kubectl may have to be downloaded, so this comes before the private network.
NPG_KUBECTL=${NPG_KUBECTL:-$("$top/scripts/lib/kubectl" "$top/build/kubectl")}
export NPG_KUBECTL

# shellcheck source=tests/e2e/private_node.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/private_node.sh"

# The mounts of the node as a pod has them. The pod is in the cgroup of the test, with its own
# cgroup namespace, and only that cgroup is guarded.
mkdir "$folder/node" "$cgroup/pod"
mount --bind "$cgroup" "$folder/node"
mount --bind "${cgroup%/*}" /sys/fs/cgroup
mount -o remount,bind,ro /sys/fs/cgroup
mount --bind "$folder/bpf" /sys/fs/bpf
ln -s node/pod/cgroup.procs "$folder/pod.procs"
mount -t tmpfs tmpfs /run
ip addr add 192.0.2.10/32 dev lo
ip addr add 2001:db8::10/128 dev lo

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=api \
  -addext subjectAltName=IP:127.0.0.1 -keyout "$folder/key.pem" -out "$folder/ca.crt" 2>"$folder/openssl.log" || {
  cat -- "$folder/openssl.log" >&2
  exit 1
}
printf 'token-of-the-test' >"$folder/token"
PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$(dirname -- "${BASH_SOURCE[0]}")/manifests.py" \
  "$guard" "$top" "$folder" "/sys/fs/cgroup/${cgroup##*/}" "$NPG_KUBECTL" kustomize
