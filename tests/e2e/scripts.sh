#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# scripts.sh FOLDER: the messages of the scripts for --help, for wrong arguments, and on a system
# that lacks what they need.
set -euo pipefail
scripts=$1
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT

# check STATUS PATTERN COMMAND...: expects the exit status and a matching line of output.
check() {
  local expected=$1 pattern=$2 status=0
  shift 2
  "$@" >"$folder/output" 2>&1 || status=$?
  if [[ $status -ne $expected ]] || ! grep -qE -- "$pattern" "$folder/output"; then
    printf 'FAILED: %s: exit status %s, not %s, or no line with "%s" in:\n' \
      "$*" "$status" "$expected" "$pattern" >&2
    cat -- "$folder/output" >&2
    exit 1
  fi
}

# check_line: the same, and expects no other line.
check_line() {
  check "$@"
  [[ $(wc -l <"$folder/output") -eq 1 ]] || {
    printf 'FAILED: more than one line:\n' >&2
    cat -- "$folder/output" >&2
    exit 1
  }
}

for script in build test lint demo bench kernel-matrix image package; do
  check 0 "^Usage: scripts/$script" "$scripts/$script" --help
  check 0 "^Usage: scripts/$script" "$scripts/$script" -h
done
check_line 2 'no preset "fast".*release' "$scripts/build" fast
check_line 2 'unknown option --fast' "$scripts/build" --fast
check_line 2 'one preset' "$scripts/build" release debug
check_line 2 'no preset "fast"' "$scripts/test" --preset fast
check_line 2 '--preset needs' "$scripts/test" --preset
check_line 2 'unknown argument --fix' "$scripts/lint" --fix
check_line 2 'unknown argument fast' "$scripts/demo" fast
check_line 2 '--plot needs a file' "$scripts/bench" --group fleet --plot
check_line 2 '--plot needs --group fleet' "$scripts/bench" --plot "$folder/figures.svg"
check_line 2 'there is no folder' "$scripts/bench" --group growth --plot "$folder/missing"
check_line 2 'takes no -o' "$scripts/bench" --group fleet -o table --plot "$folder/figures.svg"
check_line 2 'cannot write a file' "$scripts/bench" --group fleet --plot "$folder/missing/figures.svg"
check_line 2 'unknown argument --fast' "$scripts/kernel-matrix" --fast
check_line 2 'unknown argument latest' "$scripts/kernel-matrix" latest
check_line 2 'one GTEST_FILTER' "$scripts/kernel-matrix" 6.1 --
check_line 2 'not an executable' "$scripts/demo" --guard /nonexistent
check_line 2 'unknown argument --fast' "$scripts/image" --fast
check_line 2 '--guard needs' "$scripts/image" --guard
check_line 2 'not an executable' "$scripts/image" --guard /nonexistent
check_line 2 'no release "buster"' "$scripts/package" --release buster
check_line 2 'no release build' "$scripts/package" --build /nonexistent
check_line 2 'unknown argument --fast' "$scripts/package" --fast

# As a user other than root. (The tree may be in a folder that only root can enter.)
cp -r -- "$scripts" "$scripts/../CMakePresets.json" "$folder"
chmod -R a+rX "$folder"
check_line 4 'needs root' setpriv --reuid 65534 --regid 65534 --clear-groups "$folder/scripts/demo"
check_line 4 'needs root' setpriv --reuid 65534 --regid 65534 --clear-groups "$folder/scripts/test"
check_line 4 'needs root' setpriv --reuid 65534 --regid 65534 --clear-groups "$folder/scripts/kernel-matrix"
check_line 4 'needs root' setpriv --reuid 65534 --regid 65534 --clear-groups "$folder/scripts/image"

# On a system without apt and most other tools.
mkdir "$folder/bin"
for tool in bash cat dirname env grep ls sed sort tr uname; do
  ln -s "$(command -v "$tool")" "$folder/bin/$tool"
done
check_line 4 'no apt-get.* ninja-build' env PATH="$folder/bin" "$scripts/build"
check_line 4 'no apt-get.* clang-tidy' env PATH="$folder/bin" "$scripts/lint"

# Includes that the table of rooms forbids, and a tree without any include.
mkdir -p "$folder/rooms/core" "$folder/decide/dataplane/bpf" "$folder/abi/cli" "$folder/no_rooms/core"
printf '#include "core/port.h"\n#include "cli/output.h"\n' >"$folder/rooms/core/port.cc"
printf '#include "guard_abi.h"\n#include "guard_decide.h"\n' >"$folder/decide/dataplane/bpf/status.cc"
printf '#include "core/port.h"\n#include "guard_abi.h"\n' >"$folder/abi/cli/status.cc"
touch "$folder/no_rooms/core/port.cc"
check_line 1 'core/port.cc:2: core may not include cli/output.h' \
  "$scripts/lib/check-rooms.py" "$scripts/../docs/development.md" "$folder/rooms"
check_line 1 'bpf/status.cc:2: dataplane/bpf may not include guard_decide.h' \
  "$scripts/lib/check-rooms.py" "$scripts/../docs/development.md" "$folder/decide"
check_line 1 'cli/status.cc:2: cli may not include guard_abi.h' \
  "$scripts/lib/check-rooms.py" "$scripts/../docs/development.md" "$folder/abi"
# A C name of the ABI that a room gets through an include of another.
printf '#include "cli/output.h"\nuint32_t bits = NPG_SOURCE_FILE | NPG_SOURCE_OF_THIS_ROOM;\n' >"$folder/rooms/core/port.cc"
mv "$folder/rooms/core" "$folder/rooms/cli"
check_line 1 'cli/port.cc:2: cli may not use NPG_SOURCE_FILE, ' \
  "$scripts/lib/check-rooms.py" "$scripts/../docs/development.md" "$folder/rooms" "$scripts/../bpf/guard_abi.h"
check_line 1 'no #include was checked' "$scripts/lib/check-rooms.py" "$scripts/../docs/development.md" "$folder/no_rooms"

# A picture of figures: equal in every run, with a panel for each outage, and lines only for what was counted.
cat >"$folder/figures.json" <<'TEXT'
{"figures": [
  {"group": "5s away, <10 lists/s", "what": "stale, median", "value": 1.5},
  {"group": "5s away, <10 lists/s", "what": "stale, 90 %", "value": 2.25},
  {"group": "5s away, <10 lists/s", "what": "stale, 99 %", "value": 2.5},
  {"group": "5s away, <10 lists/s", "what": "stale, longest", "value": 40},
  {"group": "5s away, <10 lists/s", "what": "second 0, lists", "value": 30},
  {"group": "5s away, <10 lists/s", "what": "second 2, lists", "value": 7},
  {"group": "5s away, <10 lists/s", "what": "second 0, watches", "value": 0},
  {"group": "5s away, <10 lists/s", "what": "second 0, lists refused", "value": 20}]}
TEXT
for name in first second; do
  "$scripts/lib/plot.py" fleet "$folder/figures.json" "$folder/$name.svg"
done
cmp -- "$folder/first.svg" "$folder/second.svg"
check 0 '5s away, <10 lists/s: lists, lists refused; 50 % know: 1\.5 s, 90 %: 2\.2 s, 99 %: 2\.5 s, last node: 40\.0 s' \
  /usr/bin/python3 -c '
import sys, xml.etree.ElementTree as tree
svg = "{http://www.w3.org/2000/svg}"
root = tree.parse(sys.argv[1]).getroot()
texts = [text.text for text in root.iter(svg + "text")]
colours = {"#0072b2": "lists", "#d55e00": "watches", "#882255": "lists refused"}
lines = [colours[path.get("stroke")] for path in root.iter(svg + "path") if path.get("stroke") in colours]
print(texts[5] + ": " + ", ".join(lines[3:]) + "; " + ", ".join(text for text in texts if ": " in text))
' "$folder/first.svg"
printf '[]' >"$folder/none.json"
check_line 1 'no figures of the group fleet' "$scripts/lib/plot.py" fleet "$folder/none.json" "$folder/third.svg"
[[ ! -e $folder/third.svg ]] || {
  printf 'FAILED: a picture without figures\n' >&2
  exit 1
}

# Of growth, a picture for each kind of cost: a dot for each point, an area for each series and for
# the noise; 0 at the left end of a logarithmic axis, and equal ratios at equal distances.
cat >"$folder/growth.json" <<'TEXT'
{"growths": [
  {"name": "connects", "title": "Cost & count", "x": "NodePorts", "y": "ns", "noise": {"low": -4, "median": 1, "high": 3},
   "series": [
    {"name": "a <b", "points": [{"x": 0, "low": -1, "median": 2, "high": 3}, {"x": 10, "low": 1, "median": 2, "high": 3},
                                {"x": 100, "low": 1, "median": 2, "high": 3}, {"x": 1000, "low": 5, "median": 6, "high": 9}]},
    {"name": "c", "points": [{"x": 10, "low": 20, "median": 21, "high": 25}]}]},
  {"name": "burst", "title": "Delay", "x": "NodePorts", "y": "ms", "noise": null,
   "series": [
    {"name": "d", "points": [{"x": 10, "low": 1, "median": 2, "high": 3}, {"x": 1000, "low": 200, "median": 300, "high": 400}]}]}]}
TEXT
mkdir "$folder/growth" "$folder/again"
for name in growth again; do
  "$scripts/lib/plot.py" growth "$folder/growth.json" "$folder/$name"
done
diff -r -- "$folder/growth" "$folder/again"
cat >"$folder/growth.py" <<'TEXT'
import collections, sys, xml.etree.ElementTree as tree
svg = "{http://www.w3.org/2000/svg}"
root = tree.parse(sys.argv[1]).getroot()
texts = [text.text for text in root.iter(svg + "text")]
areas = [path for path in root.iter(svg + "path") if path.get("fill-opacity")]
dots = collections.defaultdict(list)
for dot in root.iter(svg + "circle"):
    dots[dot.get("fill")].append((float(dot.get("cx")), float(dot.get("cy"))))
first = [x for x, y in next(iter(dots.values()))]
print(f"{len(areas)} areas, dots {[len(some) for some in dots.values()]}")
print("texts: " + "|".join(texts))
print("x: rising" if first == sorted(first) else "x: not rising")
print("distances: " + ", ".join(f"{b - a:.0f}" for a, b in zip(first[1:], first[2:])))
TEXT
read_picture=(/usr/bin/python3 "$folder/growth.py" "$folder/growth/connects.svg")
# Those of the legend, the panel and two series.
check 0 '^4 areas, dots \[4, 1\]$' "${read_picture[@]}"
check 0 '^texts: Cost & count\|a <b\|c\|noise[^|]*\|0\|.*\|0\|10\|100\|1,000\|ns\|NodePorts$' "${read_picture[@]}"
check 0 '^x: rising$' "${read_picture[@]}"
check 0 '^distances: ([0-9]+), \1$' "${read_picture[@]}"
# No noise; the delays span decades.
check 0 '^texts: Delay\|d\|1\|10\|100\|1,000\|10\|1,000\|ms\|NodePorts$' \
  /usr/bin/python3 "$folder/growth.py" "$folder/growth/burst.svg"
check_line 1 'no figures of the group growth' "$scripts/lib/plot.py" growth "$folder/none.json" "$folder/again"
check_line 1 'no figures of the group growth' "$scripts/lib/plot.py" growth "$folder/figures.json" "$folder/again"
