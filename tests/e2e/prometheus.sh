#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# prometheus.sh GUARD SOURCE_TREE: a real Prometheus scrapes a real guard and
# evaluates the shipped alerts.
set -euo pipefail
top=$2
# shellcheck source=tests/e2e/private_node.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/private_node.sh"
readonly port=33589
readonly prometheus=127.0.0.1:19090

fail() {
  local log
  printf 'FAILED: %s\n' "$1" >&2
  for log in "$folder"/*.log; do
    printf -- '--- %s\n' "${log##*/}" >&2
    tail -n 20 -- "$log" >&2
  done
  exit 1
}

fetch() { curl -q --noproxy '*' --silent --fail --max-time 5 "$@"; }

# value QUERY: prints the value of the first sample; fails without one.
value() {
  fetch --get --data-urlencode "query=$1" "http://$prometheus/api/v1/query" |
    /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["data"]["result"][0]["value"][1])'
}

is() { [[ $(value "$1") == "$2" ]]; }

# alert NAME STATE [LABEL=VALUE]...: whether there is such an alert.
alert() {
  fetch "http://$prometheus/api/v1/alerts" | /usr/bin/python3 -c '
import json, sys
name, state, *labels = sys.argv[1:]
wanted = dict(label.split("=", 1) for label in labels) | {"alertname": name}
sys.exit(not any(alert["state"] == state and wanted.items() <= alert["labels"].items()
                 for alert in json.load(sys.stdin)["data"]["alerts"]))' "$@"
}

no_alert() { ! alert "$1" pending && ! alert "$1" firing; }

# Whether every rule has been evaluated without an error.
rules_are_well() {
  fetch "http://$prometheus/api/v1/rules" | /usr/bin/python3 -c '
import json, sys
rules = [r for g in json.load(sys.stdin)["data"]["groups"] for r in g["rules"]]
sys.exit(not (rules and all(r["health"] == "ok" for r in rules)))'
}

# Hides the errors of a command that fails until its condition holds.
quietly() { "$@" >/dev/null 2>&1; }

connects() {
  local i
  for ((i = 0; i < 5; i++)); do fetch --output /dev/null "http://127.0.0.1:$port/"; done
}

mkdir "$folder/data" "$folder/www"
printf '["%d/tcp"]\n' "$port" >"$folder/nodeports.json"
"$top/tests/alerts/check_rules.py" "$top/deploy/components/monitoring/prometheus-rule.yaml" \
  --extract "$folder/rules.yaml"
cat >"$folder/prometheus.yaml" <<YAML
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
- job_name: nodeport-guard
  static_configs: [{targets: ['127.0.0.1:9829'], labels: {node: worker-1}}]
YAML

# A listener of the host on the port of a NodePort.
/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory "$folder/www" "$port" \
  >"$folder/listener.log" 2>&1 &
wait_for 20 quietly connects || fail "the listener does not answer"
start_guard --source file --nodeports-file "$folder/nodeports.json"
prometheus --config.file="$folder/prometheus.yaml" --storage.tsdb.path="$folder/data" \
  --web.listen-address="$prometheus" --log.level=warn >"$folder/prometheus.log" 2>&1 &

wait_for 60 quietly is 'up{job="nodeport-guard"}' 1 || fail "Prometheus does not scrape the guard"
wait_for 30 quietly is 'sum(nodeport_guard_conflicts{state="exempted"})' 1 ||
  fail "the conflict is not in the metrics"
wait_for 30 quietly is nodeport_guard_self_probe_success 1 || fail "the self-probe does not succeed"
wait_for 30 quietly rules_are_well || fail "a rule could not be evaluated"
printf 'Prometheus scrapes the guard and evaluates its alerts.\n'

# Prometheus sees no increase in what was counted before its first scrape.
connects
wait_for 30 quietly alert NodePortGuardConflictExempted firing node=worker-1 port="$port" \
  protocol=tcp listener=127.0.0.1 || fail "an exempted conflict raises no alert"
printf 'Connects to the conflict raise NodePortGuardConflictExempted.\n'
for name in NodePortGuardNotEffective NodePortGuardControllerDown NodePortGuardConflictNotGuarded \
  NodePortGuardStatusUnknown; do
  wait_for 30 quietly no_alert "$name" || fail "$name, though the guard works"
done

kill -KILL "$guard_pid"
wait "$guard_pid" 2>/dev/null || true
wait_for 30 quietly alert NodePortGuardControllerDown pending node=worker-1 ||
  fail "a killed controller raises no alert"
printf 'A killed controller raises NodePortGuardControllerDown.\n'
if grep -E 'Error on ingesting|append failed|Evaluating rule failed' "$folder/prometheus.log"; then
  fail "Prometheus logged an error"
fi
