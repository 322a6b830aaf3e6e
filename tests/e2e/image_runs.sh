#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# image_runs.sh IMAGE.oci.tar MANIFEST.yaml: runs the built image in the container that the
# DaemonSet describes, which has components/reserve-ports. Connects to a listener that kube-proxy's
# rules hijack reach it again, and the NodePort is reserved, also after the container has stopped.
set -euo pipefail
image=$1
daemonset=$2
here=$(dirname -- "${BASH_SOURCE[0]}")
# shellcheck source=tests/e2e/private_node.sh
source "$here/private_node.sh"
# shellcheck source=tests/e2e/hijack_story.sh
source "$here/hijack_story.sh"
runtime_log=$folder/runc.log

# container NAME ARGUMENT...: writes its bundle.
container() {
  local bundle=$folder/$1
  mkdir "$bundle" "$bundle/rootfs"
  OCI_CGROUP=/$(basename -- "$cgroup")/$1 /usr/bin/python3 "$here/oci_bundle.py" "$image" "$daemonset" "$bundle" \
    "/sys/fs/bpf=$folder/bpf" -- "${@:2}"
}
reserves() { grep -qE "(^|,)$port(,|\$)" $reserved && grep -qE '(^|,)50000-50001(,|$)' $reserved; }
in_runtime() { runc --root "$folder/runc" --log "$runtime_log" "$@"; }

# What the administrator has reserved, which must stay.
reserved=/proc/sys/net/ipv4/ip_local_reserved_ports
echo 50000-50001 >$reserved

capabilities=$(container guard --source netfilter --cgroup "$cgroup" --http-address 127.0.0.1:9829)
in_runtime run --bundle "$folder/guard" guard >"$folder/guard.log" 2>&1 &
guard_pid=$! # guard_has_answered looks at it
wait_for 60 guard_has_answered || true
grep -q 'ready: ' "$folder/guard.log" || fail "the guard in the container is not ready"

# The process has the privileges of the manifest and no others.
pid=$(in_runtime state guard | sed -nE 's/.*"pid": ([0-9]+).*/\1/p')
status=$(</proc/"$pid"/status)
for line in "CapBnd: $capabilities" 'CapInh: 0000000000000000' 'CapAmb: 0000000000000000' \
  'NoNewPrivs: 1' 'Seccomp: 0'; do
  grep -qxF -- "${line/: /:$'\t'}" <<<"$status" || fail "the process in the container has no \"$line\""
done
# The guard may have dropped some of them itself.
effective=$(sed -nE 's/^CapEff:\s+//p' <<<"$status")
(((16#$effective & ~16#$capabilities) == 0)) || fail "the process has the capabilities $effective, and should $capabilities"
awk '$5 == "/" { found = 1; if ($6 !~ /(^|,)ro(,|$)/) exit 1 } END { exit !found }' "/proc/$pid/mountinfo" ||
  fail "the container's root is not read-only"
[[ $(readlink "/proc/$pid/exe") == /usr/sbin/nodeport-guard ]] || fail "the container does not run the binary of the image"
for kind in net pid mnt ipc uts cgroup; do
  same=no
  [[ $(readlink "/proc/$pid/ns/$kind") != "$(readlink "/proc/self/ns/$kind")" ]] || same=yes
  [[ net:yes,pid:yes,mnt:no,ipc:no,uts:no,cgroup:no == *$kind:$same* ]] ||
    fail "is the $kind namespace of the container the node's? $same"
done
for path in healthz readyz; do
  curl -q --noproxy '*' --silent --fail --max-time 5 "http://127.0.0.1:9829/$path" >"$folder/$path.log" ||
    fail "/$path does not return 200"
done
answers 'the node itself' 'The container runs:'

# The node's sysctl is writable in the container, where /proc/sys is not. The NodePort is an
# ephemeral one only from here on, see private_node.sh.
mounted() { awk -v path="$1" '$5 == path { options = $6 } END { print options }' "/proc/$pid/mountinfo"; }
[[ $(mounted /proc/sys) =~ (^|,)ro(,|$) ]] || fail "the container's /proc/sys is not read-only"
[[ $(mounted /host/ip_local_reserved_ports) =~ (^|,)rw(,|$) ]] || fail "the container has no writable sysctl"
echo 32768 60999 >/proc/sys/net/ipv4/ip_local_port_range
wait_for 60 reserves || fail "NodePort $port is not reserved from the container: $(<$reserved)"

in_runtime kill guard TERM
wait "$guard_pid" || fail "the container ended with $?"
answers 'the node itself' 'The container has stopped:'
reserves || fail "the end of the container changed the reserved ports: $(<$reserved)"

container unload unload --cgroup "$cgroup" >/dev/null
in_runtime run --bundle "$folder/unload" unload >"$folder/unload.log" 2>&1 || fail "unload in the container failed"
answers 'pod web' 'After unload in a container:'
[[ $(<$reserved) == 50000-50001 ]] || fail "after unload these ports are reserved: $(<$reserved)"
nothing_left
