# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A node with a listener that kube-proxy's rules hijack, for tests that run the guard in a
# package or an image. Sourced after private_node.sh, and set up in its namespaces. The node
# has one cgroup hierarchy, at /sys/fs/cgroup; `cgroup` is the cgroup of the test.
story=$(dirname -- "${BASH_SOURCE[0]}")
readonly port=34567 # the NodePort in kube-proxy's dump
readonly pod_address=10.244.1.2

fail() {
  printf 'FAILED: %s\n' "$1" >&2
  local log
  for log in "${folder:?}"/*.log; do
    printf -- '--- %s\n' "${log##*/}" >&2
    tail -n 15 -- "$log" | cut -c1-300 >&2
  done
  exit 1
}

# The node has one cgroup hierarchy, as current nodes have, and its own bpf file system.
umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
cgroup=/sys/fs/cgroup/$(basename -- "$cgroup")
[[ -d $cgroup ]] || fail "the test's cgroup is not at $cgroup"

# The pod behind the Service, and the rules of kube-proxy for it.
unshare --net /usr/bin/python3 "$story/../../scripts/lib/demo-pod.py" >"$folder/pod.log" 2>&1 &
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
sed -E 's/ -m nfacct --nfacct-name +[a-z_]+//' "$story/../testdata/kube-proxy-1.36-iptables.save" |
  iptables-nft-restore || fail "iptables-restore refused kube-proxy's rules"

# The listener of the node.
mkdir "$folder/www"
printf 'the node itself\n' >"$folder/www/index.html"
/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory "$folder/www" "$port" >"$folder/listener.log" 2>&1 &

answer() { curl -q --noproxy '*' --silent --max-time 3 "http://127.0.0.1:$port/" | head -n 1; }
# answers NAME MESSAGE: expects that NAME answers ten of ten connects.
answers() {
  local i got
  for ((i = 0; i < 10; i++)); do
    got=$(answer || true)
    [[ $got == "$1"* ]] || fail "$2: 127.0.0.1:$port was answered by \"$got\", not by $1"
  done
  printf '%-55s %s\n' "$2" "$1"
}
hijacked() { [[ $(answer) == 'pod web'* ]]; }
wait_for 20 hijacked || fail "kube-proxy's rules do not hijack the listener, so the test shows nothing"
answers 'pod web' "kube-proxy's rules, no guard:"


# nothing_left: expects that no pin, table or program of the guard remains.
nothing_left() {
  local left
  left=$(
    find "${folder:?}/bpf" -name 'nodeport*'
    nft list tables | grep nodeport_guard || true
    bpftool cgroup list "$cgroup" | grep npg_ || true
  )
  [[ -z $left ]] || fail "left behind: $left"
}
