#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# refused_runtimes.sh GUARD: what containerd and programs in Go, Java and Python print when bind
# protection refuses them a NodePort, and that they listen when it only warns. Prints the lines.
set -euo pipefail
# shellcheck source=tests/e2e/private_node.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/private_node.sh"
programs=$(dirname -- "${BASH_SOURCE[0]}")/refused
readonly runtimes=(containerd go java python)
declare -A -r port=([containerd]=33589 [go]=33590 [java]=33591 [python]=33592)
declare -A -r comm=([containerd]=containerd [go]=refused [java]=java [python]=python3)
# How each names EADDRINUSE.
declare -A -r words=(
  [containerd]="listen tcp 127.0.0.1:${port[containerd]}: bind: address already in use"
  [go]="listen tcp :${port[go]}: bind: address already in use"
  [java]='java.net.BindException: Address already in use'
  [python]='OSError: [Errno 98] Address already in use')
declare -A pid=()

fail() {
  local log
  printf 'FAILED: %s\n' "$1" >&2
  for log in "$folder"/*.log; do
    printf -- '--- %s\n' "${log##*/}" >&2
    tail -n 15 -- "$log" | cut -c1-300 >&2
  done
  exit 1
}

export HOME=$folder GOCACHE=$folder/go-cache GO111MODULE=off
unset JAVA_TOOL_OPTIONS
go build -o "$folder/refused" "$programs/refused.go" || fail "refused.go does not compile"
cat >"$folder/containerd.toml" <<TOML
version = 2
root = "$folder/root"
state = "$folder/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "$folder/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$folder/opt"
[plugins."io.containerd.grpc.v1.cri"]
  disable_tcp_service = false
  stream_server_port = "${port[containerd]}"
[plugins."io.containerd.grpc.v1.cri".cni]
  conf_dir = "$folder/cni"
  bin_dir = "$folder/cni"
TOML

# start RUNTIME: starts its program, whose output is in RUNTIME.log.
start() {
  local command=()
  case $1 in
    containerd) command=(containerd --config "$folder/containerd.toml") ;;
    go) command=("$folder/refused" "${port[go]}") ;;
    java) command=(java "$programs/Refused.java" "${port[java]}") ;;
    python) command=(/usr/bin/python3 "$programs/refused.py" "${port[python]}") ;;
  esac
  "${command[@]}" >"$folder/$1.log" 2>&1 &
  pid[$1]=$!
}
has_ended() { ! kill -0 "${pid[$1]}" 2>/dev/null; }
listens() { [[ -n $(ss -Hltn "sport = :${port[$1]}") ]]; }
listens_or_ended() { listens "$1" || has_ended "$1"; }

# logs OUTCOME RUNTIME: whether the guard's log has a line about its process and port.
logs() {
  grep -qE "\b${comm[$2]}\b.* $1 .*:${port[$2]}\b.* the NodePort ${port[$2]}/tcp" "$folder/guard.log"
}

all_refusable() {
  "$guard" status -o json "${guard_paths[@]}" |
    /usr/bin/python3 -c '
import json, sys
sys.exit(json.load(sys.stdin)["protection"]["bind"]["refusable"] != int(sys.argv[1]))' "${#runtimes[@]}"
}

# guard_with MODE: starts the guard and waits until the ports are protected.
guard_with() {
  start_guard --source file --nodeports-file "$folder/ports.json" --guard-uid any --bind-protection "$1"
  wait_for 20 all_refusable || fail "$1: the guard does not protect ${#runtimes[@]} ports"
}

stop_guard() {
  kill "$guard_pid"
  wait "$guard_pid"
}

printf '["%s/tcp", "%s/tcp", "%s/tcp", "%s/tcp"]\n' "${port[@]}" >"$folder/ports.json"

# Refused: each names the error in its own words, and ends.
guard_with deny
for runtime in "${runtimes[@]}"; do start "$runtime"; done
for runtime in "${runtimes[@]}"; do
  wait_for 60 listens_or_ended "$runtime" || fail "deny: $runtime neither listens nor ends"
  ! listens "$runtime" || fail "deny: $runtime listens on ${port[$runtime]}"
  code=0
  wait "${pid[$runtime]}" || code=$?
  [[ $code -eq 1 ]] || fail "deny: $runtime ended with code $code"
  line=$(grep -F -m 1 -e "${words[$runtime]}" "$folder/$runtime.log") ||
    fail "deny: $runtime does not print \"${words[$runtime]}\""
  printf '%-11s exit %s  %s\n' "$runtime" "$code" "$line"
  wait_for 20 logs 'was refused' "$runtime" || fail "deny: the guard does not log the bind of $runtime"
done
stop_guard

# Reported: each listens, and goes on.
guard_with warn
for runtime in "${runtimes[@]}"; do start "$runtime"; done
for runtime in "${runtimes[@]}"; do
  wait_for 60 listens_or_ended "$runtime" || fail "warn: $runtime neither listens nor ends"
  listens "$runtime" || fail "warn: $runtime does not listen on ${port[$runtime]}"
  wait_for 20 logs bound "$runtime" || fail "warn: the guard does not log the bind of $runtime"
  ! has_ended "$runtime" || fail "warn: $runtime ended"
done
printf 'with --bind-protection warn, all of them listen\n'
stop_guard
"$guard" unload "${guard_paths[@]}" >"$folder/unload"
