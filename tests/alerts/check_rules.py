#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""check_rules.py RULE_FILE DASHBOARD | RULE_FILE --extract TARGET

Checks the alerts of a PrometheusRule with promtool: their syntax, and the tests next
to this script. Every alert needs a test in which it fires and one in which it does not.
Also checks the syntax of the queries of the dashboard. With --extract, only writes the
plain rules that Prometheus reads to TARGET.
"""
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

import yaml


def load(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def extract(rule_file, target):
    """Writes the rules as a rule file; returns the names of the alerts."""
    document = load(rule_file)
    if document["kind"] != "PrometheusRule":
        sys.exit(f"{rule_file}: is no PrometheusRule")
    with open(target, "w", encoding="utf-8") as file:
        yaml.safe_dump(document["spec"], file, sort_keys=False)
    return [rule["alert"] for group in document["spec"]["groups"] for rule in group["rules"]]


def untested(alerts, test_files):
    """The missing tests of the alerts."""
    fires, rests = set(), set()
    for path in test_files:
        for test in load(path)["tests"]:
            for check in test["alert_rule_test"]:
                (fires if check["exp_alerts"] else rests).add(check["alertname"])
    missing = [f"{name}: no test in which it fires" for name in alerts if name not in fires]
    missing += [f"{name}: no test in which it does not" for name in alerts if name not in rests]
    missing += [f"{name}: there is no such alert" for name in (fires | rests) - set(alerts)]
    return missing


def write_queries(dashboard, target):
    """Writes the panels' queries as recording rules, which promtool can parse."""
    with open(dashboard, encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    rules = [
        {"record": f"panel:query:{i}",
         "expr": query.replace("$__rate_interval", "5m").replace("$instance", ".+")}
        for i, query in enumerate(queries)
    ]
    with open(target, "w", encoding="utf-8") as file:
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)


def main():
    if len(sys.argv) == 4 and sys.argv[2] == "--extract":
        extract(sys.argv[1], sys.argv[3])
        return
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    test_files = sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "*.yaml")))
    with tempfile.TemporaryDirectory() as folder:
        alerts = extract(sys.argv[1], os.path.join(folder, "rules.yaml"))
        missing = untested(alerts, test_files)
        if missing:
            sys.exit("\n".join(missing))
        copies = [shutil.copy(path, folder) for path in test_files]
        write_queries(sys.argv[2], os.path.join(folder, "queries.yaml"))
        for rules in ["rules.yaml", "queries.yaml"]:
            subprocess.run(["promtool", "check", "rules", rules], cwd=folder, check=True)
        subprocess.run(["promtool", "test", "rules", *copies], cwd=folder, check=True)
        print(f"{len(alerts)} alerts, each seen to fire and not to fire")


if __name__ == "__main__":
    main()
