#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# status_schema.sh GUARD SCHEMA: validates the status of a real guard, from the command line
# and over HTTP, with the schema, and tests the schema itself.
set -euo pipefail
schema=$2
# shellcheck source=tests/e2e/private_node.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/private_node.sh"

# A conflict, a port without a listener, an ignored owner, and an untrusted one.
printf '["33589/tcp", "33590/udp", "33591/tcp", "33592/tcp"]\n' >"$folder/ports.json"
# listen PORT COMM [COMMAND...]: with COMMAND, that runs the listener.
listen() {
  local port=$1 comm=$2
  shift 2
  "$@" /usr/bin/python3 -c '
import socket, sys
with open("/proc/self/comm", "w") as comm:
    comm.write(sys.argv[2])
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
server.accept()' "$port" "$comm" >"$folder/listening-$port" &
  wait_for 10 grep -q listening "$folder/listening-$port"
}
listen 33589 victim
listen 33591 holder
listen 33592 victim setpriv --reuid 65534 --regid 65534 --clear-groups

start_guard --source file --nodeports-file "$folder/ports.json" --ignore-process holder
/usr/bin/python3 "$(dirname -- "${BASH_SOURCE[0]}")/status_schema.py" "$schema" \
  http://127.0.0.1:9829/api/v1/status "$guard" status -o json "${guard_paths[@]}"
kill "$guard_pid"
wait "$guard_pid"

# Without a controller and without the table, the status is still valid.
nft delete table inet nodeport_guard
/usr/bin/python3 "$(dirname -- "${BASH_SOURCE[0]}")/status_schema.py" "$schema" '' \
  "$guard" status -o json "${guard_paths[@]}"
"$guard" unload "${guard_paths[@]}" >"$folder/unload"
