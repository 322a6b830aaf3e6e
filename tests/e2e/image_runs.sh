#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# image_runs.sh IMAGE.oci.tar DAEMONSET.yaml TESTDATA: the guard's job, done by the built image
# in the container that the DaemonSet asks for: a listener that kube-proxy's rules hijack is
# given back, and stays so when the container stops.
set -euo pipefail
image=$1
daemonset=$2
testdata=$3
here=$(dirname -- "${BASH_SOURCE[0]}")
# shellcheck source=tests/e2e/private_node.sh
source "$here/private_node.sh"
readonly port=34567 # the NodePort in kube-proxy's dump
readonly pod_address=10.244.1.2
runtime_log=$folder/runc.log

fail() {
  printf 'FAILED: %s\n' "$1" >&2
  local log
  for log in "$folder"/*.log; do
    printf -- '--- %s\n' "${log##*/}" >&2
    tail -n 15 -- "$log" | cut -c1-300 >&2
  done
  exit 1
}

# The node has one cgroup hierarchy, as nodes have today, and a bpf file system of its own.
umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
cgroup=/sys/fs/cgroup/$(basename -- "$cgroup")
[[ -d $cgroup ]] || fail "the test's cgroup is not at $cgroup"

# The pod behind the Service, and what kube-proxy wrote for it.
unshare --net /usr/bin/python3 "$here/../../scripts/lib/demo-pod.py" >"$folder/pod.log" 2>&1 &
pod=$!
own_netns=$(readlink /proc/self/ns/net)
pod_has_netns() { [[ $(readlink "/proc/$pod/ns/net") != "$own_netns" ]]; }
wait_for 10 pod_has_netns || fail "the pod did not start"
ip link add veth-web type veth peer name eth0 netns "$pod"
ip address add 10.244.1.1/24 dev veth-web
ip link set veth-web up
nsenter --target "$pod" --net sh -c "ip link set lo up; ip address add $pod_address/24 dev eth0
  ip link set eth0 up; ip route add default via 10.244.1.1"
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
sed -E 's/ -m nfacct --nfacct-name +[a-z_]+//' "$testdata/kube-proxy-1.36-iptables.save" |
  iptables-nft-restore || fail "iptables-restore refused kube-proxy's rules"

# The listener of the node.
mkdir "$folder/www"
printf 'the node itself\n' >"$folder/www/index.html"
/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory "$folder/www" "$port" >"$folder/listener.log" 2>&1 &

answer() { curl -q --noproxy '*' --silent --max-time 3 "http://127.0.0.1:$port/" | head -n 1; }
# answers WHOM: ten times of ten.
answers() {
  local i got
  for ((i = 0; i < 10; i++)); do
    got=$(answer || true)
    [[ $got == "$1"* ]] || fail "$2: 127.0.0.1:$port was answered by \"$got\", not by $1"
  done
  printf '%-55s %s\n' "$2" "$1"
}
hijacked() { [[ $(answer) == 'pod web'* ]]; }
wait_for 20 hijacked || fail "kube-proxy's rules do not hijack the listener, so nothing can be shown"
answers 'pod web' "kube-proxy's rules, no guard:"

# container NAME ARGUMENT...: writes its bundle.
container() {
  local bundle=$folder/$1
  mkdir "$bundle" "$bundle/rootfs"
  OCI_CGROUP=/$(basename -- "$cgroup")/$1 /usr/bin/python3 "$here/oci_bundle.py" "$image" "$daemonset" "$bundle" \
    "/sys/fs/bpf=$folder/bpf" -- "${@:2}"
}
in_runtime() { runc --root "$folder/runc" --log "$runtime_log" "$@"; }

capabilities=$(container guard --source netfilter --cgroup "$cgroup" --http-address 127.0.0.1:9829)
in_runtime run --bundle "$folder/guard" guard >"$folder/guard.log" 2>&1 &
guard_pid=$! # guard_has_answered looks at it
wait_for 60 guard_has_answered || true
grep -q 'ready: ' "$folder/guard.log" || fail "the guard in the container is not ready"

# It has what the manifest says, and not more.
pid=$(in_runtime state guard | sed -nE 's/.*"pid": ([0-9]+).*/\1/p')
status=$(</proc/"$pid"/status)
for line in "CapBnd: $capabilities" 'CapInh: 0000000000000000' 'CapAmb: 0000000000000000' \
  'NoNewPrivs: 1' 'Seccomp: 0'; do
  grep -qxF -- "${line/: /:$'\t'}" <<<"$status" || fail "the process in the container has no \"$line\""
done
# It may have given up some of them itself.
effective=$(sed -nE 's/^CapEff:\s+//p' <<<"$status")
(((16#$effective & ~16#$capabilities) == 0)) || fail "the process has the capabilities $effective, and should $capabilities"
awk '$5 == "/" { found = 1; if ($6 !~ /(^|,)ro(,|$)/) exit 1 } END { exit !found }' "/proc/$pid/mountinfo" ||
  fail "the container's root is not read-only"
[[ $(readlink "/proc/$pid/exe") == /usr/sbin/nodeport-guard ]] || fail "it is not the image's binary that runs"
for kind in net pid mnt ipc uts cgroup; do
  same=no
  [[ $(readlink "/proc/$pid/ns/$kind") != "$(readlink "/proc/self/ns/$kind")" ]] || same=yes
  [[ net:yes,pid:yes,mnt:no,ipc:no,uts:no,cgroup:no == *$kind:$same* ]] ||
    fail "is the $kind namespace of the container the node's? $same"
done
for path in healthz readyz; do
  curl -q --noproxy '*' --silent --fail --max-time 5 "http://127.0.0.1:9829/$path" >"$folder/$path.log" ||
    fail "/$path does not say 200"
done
answers 'the node itself' 'The container runs:'

in_runtime kill guard TERM
wait "$guard_pid" || fail "the container ended with $?"
answers 'the node itself' 'The container has stopped:'

container unload unload --cgroup "$cgroup" >/dev/null
in_runtime run --bundle "$folder/unload" unload >"$folder/unload.log" 2>&1 || fail "unload in the container failed"
answers 'pod web' 'After unload in a container:'
left=$(
  find "$folder/bpf" -name 'nodeport*'
  nft list tables | grep nodeport_guard || true
  bpftool cgroup list "$cgroup" | grep npg_ || true
)
[[ -z $left ]] || fail "left behind: $left"
