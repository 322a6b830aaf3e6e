#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""check-rooms.py DOCUMENT TREE: does every #include in TREE follow the table of rooms?

The table is the one in DOCUMENT whose first column is "room": the room (a folder of TREE),
what lives there, and the rooms that it may include, "all" for every one. A room may always
include itself. A header that some row names ("bpf/guard_decide.h") is for the rooms whose rows
name it, and for no other. Names one line for each breach, and for each folder that is no room.
"""

import pathlib
import re
import sys

ROW = re.compile(r"^\| `([^`]+)` \|.*\|([^|\n]*)\|$", re.M)
INCLUDE = re.compile(r'^#include "(guard_\w+\.h|[\w/]+/[\w.]+)"', re.M)


def read_table(path):
    """The rooms that each room may include, by its name."""
    text = path.read_text()
    start = text.index("| room |")
    table = text[start : text.index("\n\n", start)]
    return {room.rstrip("/"): set(re.findall(r"[\w/]+(?:\.h)?", re.sub(r"\([^)]*\)", "", allowed)))
            for room, allowed in ROW.findall(table)}


def room_of(folder, rooms):
    """The room that a folder belongs to: itself, or the nearest above it."""
    while folder and folder not in rooms:
        folder = folder.rpartition("/")[0]
    return folder


def main():
    document, tree = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    rooms = read_table(document)
    named = {entry for allowed in rooms.values() for entry in allowed if entry.endswith(".h")}
    breaches = checked = 0
    for path in sorted((*tree.rglob("*.h"), *tree.rglob("*.cc"))):
        folder = path.relative_to(tree).parent.as_posix()
        room = room_of(folder, rooms)
        if folder == ".":
            continue  # the programs, which join all of it
        if not room:
            print(f"{path}:1: {folder} is no room of {document}")
            breaches += 1
            continue
        for include in INCLUDE.finditer(path.read_text()):
            wanted = include.group(1)
            if wanted.startswith("absl/"):
                continue
            other = "bpf" if "/" not in wanted else room_of(wanted.rpartition("/")[0], rooms)
            checked += 1
            allowed = rooms[room]
            header = wanted if "/" in wanted else f"bpf/{wanted}"
            if header in named:
                if header in allowed:
                    continue
            # "dataplane" stands for both of its halves.
            elif other == room or "all" in allowed or other in allowed or other.partition("/")[0] in allowed:
                continue
            line = path.read_text().count("\n", 0, include.start()) + 1
            print(f"{path}:{line}: {room} may not include {wanted} (rooms in {document})")
            breaches += 1
    if checked == 0:
        print(f"check-rooms.py: {tree}: no #include was checked")
    return 1 if breaches or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
