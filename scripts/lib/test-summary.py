#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test-summary.py RESULTS [LABEL...]: summarizes the JUnit file of ctest.

Prints the number of tests of each label, and the slowest tests; writes the total next to
RESULTS. Fails if a test was skipped or is disabled, which ctest counts as passed, or if a
LABEL has no test.
"""

import collections
import pathlib
import re
import sys
import xml.etree.ElementTree

RAN = re.compile(r"^\[=+\] (\d+) tests? from \d+ test suites? ran\.", re.M)
SKIPPED = re.compile(r"^\[  SKIPPED \] (\d+) tests?, listed below:", re.M)
DISABLED = re.compile(r"YOU HAVE (\d+) DISABLED TEST")
SLOW = 5.0


def main():
    results = pathlib.Path(sys.argv[1])
    labels = collections.Counter(dict.fromkeys(sys.argv[2:], 0))
    slow, faults, seconds = [], [], 0.0
    for case in xml.etree.ElementTree.parse(results).getroot().iter("testcase"):
        name, output = case.get("name"), case.findtext("system-out") or ""
        seconds += float(case.get("time"))
        # A program that ran several tests prints their number; any other counts as one.
        ran = RAN.search(output)
        labels[name.split(".", 1)[0]] += int(ran.group(1)) if ran else 1
        if float(case.get("time")) >= SLOW:
            slow.append((float(case.get("time")), name))
        if case.get("status") not in ("run", "fail"):
            faults.append(f"{name} is {case.get('status')}")
        for pattern, what in ((SKIPPED, "skipped"), (DISABLED, "disabled")):
            if found := pattern.search(output):
                faults.append(f"{name}: {found.group(1)} of its tests are {what}")
        if ran and ran.group(1) == "0":
            faults.append(f"{name} ran no test")
    faults += [f"there is no test with the label {label}" for label, count in labels.items() if count == 0]
    for time, name in sorted(slow, reverse=True):
        print(f"{time:7.1f} s  {name}")
    counts = ", ".join(f"{label} {count}" for label, count in sorted(labels.items()))
    print(f"Tests: {sum(labels.values())} ({counts}), {seconds:.0f} s in total")
    results.with_suffix(".count").write_text(f"{sum(labels.values())}\n")
    for fault in faults:
        print(f"test: {fault}: counts as a failure", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
