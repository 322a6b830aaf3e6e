#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""check-rooms.py DOCUMENT TREE [HEADER...]: checks every #include in TREE with the table of rooms.

The table is the one in DOCUMENT whose first column is "room": the room (a folder of TREE),
its content, and the rooms that it may include, "all" for every one in TREE. A room may always
include itself. "bpf/" is outside of TREE. A header that some row names, as in
"bpf/guard_decide.h", is permitted only for the rooms whose rows name it. A room that may include
nothing of bpf/ must not use the npg_ and NPG_ names of HEADER either, which it could get through
other rooms. Prints one line for each breach, and for each folder that is no room.
"""

import pathlib
import re
import sys

ROW = re.compile(r"^\| `([^`]+)` \|.*\|([^|\n]*)\|$", re.M)
NAME = re.compile(r"\b(?:npg|NPG)_\w+")
INCLUDE = re.compile(r'^#include "(guard_\w+\.h|[\w/]+/[\w.]+)"', re.M)


def read_table(path):
    """The rooms that each room may include, by its name."""
    text = path.read_text()
    start = text.index("| room |")
    table = text[start : text.index("\n\n", start)]
    return {room.rstrip("/"): set(re.findall(r"[\w/.]+", re.sub(r"\([^)]*\)", "", allowed)))
            for room, allowed in ROW.findall(table)}


def read_names(paths):
    """The npg_ and NPG_ names in the headers."""
    return {name for path in paths for name in NAME.findall(path.read_text())}


def room_of(folder, rooms):
    """The room that a folder belongs to: itself, or the nearest above it."""
    while folder and folder not in rooms:
        folder = folder.rpartition("/")[0]
    return folder


def main():
    document, tree = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    rooms = read_table(document)
    named = {entry for allowed in rooms.values() for entry in allowed if entry.endswith(".h")}
    names = read_names(map(pathlib.Path, sys.argv[3:]))
    breaches = checked = 0
    for path in sorted((*tree.rglob("*.h"), *tree.rglob("*.cc"))):
        folder = path.relative_to(tree).parent.as_posix()
        room = room_of(folder, rooms)
        if folder == ".":
            continue  # the main programs, which may use all rooms
        if not room:
            print(f"{path}:1: {folder} is no room of {document}")
            breaches += 1
            continue
        text, allowed = path.read_text(), rooms[room]
        for include in INCLUDE.finditer(text):
            wanted = include.group(1)
            if wanted.startswith("absl/"):
                continue
            other = "bpf" if "/" not in wanted else room_of(wanted.rpartition("/")[0], rooms)
            checked += 1
            header = wanted if "/" in wanted else f"bpf/{wanted}"
            if header in named:
                permitted = header in allowed
            else:
                # "dataplane" stands for both of its halves.
                permitted = (other == room or other in allowed or other.partition("/")[0] in allowed
                             or ("all" in allowed and other != "bpf"))
            if permitted:
                continue
            line = text.count("\n", 0, include.start()) + 1
            print(f"{path}:{line}: {room} may not include {wanted} (rooms in {document})")
            breaches += 1
        if any(entry.partition("/")[0] == "bpf" for entry in allowed):
            continue
        for name in NAME.finditer(text):
            if name.group() in names:
                line = text.count("\n", 0, name.start()) + 1
                print(f"{path}:{line}: {room} may not use {name.group()}, because it may not include bpf/")
                breaches += 1
    if checked == 0:
        print(f"check-rooms.py: {tree}: no #include was checked")
    return 1 if breaches or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
