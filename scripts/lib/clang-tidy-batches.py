#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs clang-tidy over a configured build, for scripts/lint.

clang-tidy spends most of its time on headers: parsing them, and walking them once for
every check. Over the batches of a unity build it does that once for a dozen files. Clang
analyses the paths of functions in included files only where the name of the main file
begins with "UnifiedSource" (isInCodeFile() in its AnalysisManager.h), so the batches that
CMake made are copied under such a name.

A batch that was clean is not parsed again until something that it read has changed: its
files, headers, flags, the checks, or clang-tidy itself. Those that are parsed are joined
first, up to MAX_SOURCES files: the fewer runs, the fewer times the headers are walked.
"""

import argparse
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time

UNITY = re.compile(r"/([^/]+)\.dir/Unity/unity_(\d+)_cxx\.cxx$")
NOISE = re.compile(r"^\d+ (warnings?|errors?)( and \d+ errors?)? generated\.$|^Suppressed |^Use -header-filter")
MAIN = re.compile(r"^int main\(", re.M)
# The limit of one run. More sources take too much memory, and leave a processor idle at the end.
MAX_SOURCES = 32
# What misc-unused-using-decls and misc-unused-alias-decls look at.
DECLARATION = re.compile(r"\busing\s+(?!namespace\b)[^=;{}]+;|\bnamespace\s+\w+\s*=")
INCLUDE = re.compile(r'^\s*#\s*include\s+"(.+)"', re.M)
# Seconds between two times that the state is saved.
SAVE_INTERVAL = 30
# The place of a finding, to drop duplicates: many batches read the same header.
FINDING = re.compile(r"^(/[^:]+:\d+:\d+): (?:warning|error): .*\[(.+)\]$")


class Batch:
    """The input of one run of clang-tidy: a main file, and the sources that it includes."""

    def __init__(self, name, sources, entry, main):
        self.name = name
        self.sources = sources
        self.entry = entry
        self.main = main

    def arguments(self):
        """The arguments of the compiler without those that name files."""
        kept, skip = [], False
        for word in shlex.split(self.entry["command"])[1:]:
            if skip:
                skip = False
            elif word in ("-o", "-MF", "-MT"):
                skip = True
            elif word not in ("-c", "-MD", self.entry["file"]):
                kept.append(word)
        return kept

    def size(self):
        return sum(os.path.getsize(source) for source in self.sources)

    def is_unity(self):
        return self.main not in self.sources

    def definitions(self):
        """The arguments that may differ between files that are parsed together."""
        words, units = iter(self.arguments()), []
        for word in words:
            if word == "-isystem":
                units.append((word, next(words)))
            elif word.startswith(("-D", "-I")):
                units.append((word,))
        return units


class Joined:
    """Batches that are parsed in one run, with the definitions and include folders of all."""

    def __init__(self, batches, folder):
        self.batches = batches
        self.name = batches[0].name if len(batches) == 1 else f"{batches[0].name} and {len(batches) - 1} more"
        self.sources = [source for batch in batches for source in batch.sources]
        self.entry = batches[0].entry
        self.main = batches[0].main
        if len(batches) > 1:
            self.main = write_main(folder, hashlib.sha256(" ".join(self.sources).encode()).hexdigest()[:12],
                                   self.sources)

    def arguments(self):
        words = self.batches[0].arguments()
        known = set(self.batches[0].definitions())
        for batch in self.batches[1:]:
            for unit in batch.definitions():
                if unit not in known:
                    known.add(unit)
                    words += unit
        return words

    def size(self):
        return sum(batch.size() for batch in self.batches)


def write_main(folder, name, sources):
    """The file that includes the sources."""
    main = folder / f"UnifiedSource.{name}.cc"
    text = "".join(f'#include "{source}"  // NOLINT(bugprone-suspicious-include)\n' for source in sources)
    if not main.exists() or main.read_text() != text:
        main.write_text(text)
    return str(main)


def join(batches, folder):
    """The runs for these batches: joins batches of a unity build that have the same checks."""
    runs, alike = [], {}
    for batch in batches:
        if batch.is_unity() and not any(MAIN.search(pathlib.Path(source).read_text()) for source in batch.sources):
            alike.setdefault(str(config_of(batch.sources[0])), []).append(batch)
        else:
            runs.append([batch])
    for members in alike.values():
        count = -(-sum(len(batch.sources) for batch in members) // MAX_SOURCES)
        parts = [[] for _ in range(count)]
        # Adds each batch, the largest first, to the part that is the smallest so far.
        for batch in sorted(members, key=Batch.size, reverse=True):
            min(parts, key=lambda part: sum(map(Batch.size, part))).append(batch)
        runs += [part for part in parts if part]
    return sorted((Joined(part, folder) for part in runs), key=Joined.size, reverse=True)


def batches_of(build, chosen):
    """The batches of a build, or one for each chosen file."""
    folder = build / "clang-tidy"
    folder.mkdir(exist_ok=True)
    batches = []
    for entry in json.loads((build / "compile_commands.json").read_text()):
        unity = UNITY.search(entry["file"])
        sources = [entry["file"]]
        if unity:
            sources = re.findall(r'^#include "(.*)"$', pathlib.Path(entry["file"]).read_text(), re.M)
        elif str(build) + "/" in entry["file"]:
            continue  # generated code
        if chosen:
            for source in set(sources) & chosen:
                batches.append(Batch(os.path.relpath(source), [source], entry, source))
        elif unity:
            name = f"{unity.group(1)}.{unity.group(2)}"
            batches.append(Batch(name, sources, entry, write_main(folder, name, sources)))
        else:
            batches.append(Batch(os.path.relpath(sources[0]), sources, entry, sources[0]))
    return batches


@functools.cache
def look_at(path, folders):
    """Whether a file has a DECLARATION, and the files of the project that it includes."""
    text = pathlib.Path(path).read_text()
    included = []
    for name in INCLUDE.findall(text):
        places = (os.path.normpath(os.path.join(folder, name)) for folder in (os.path.dirname(path), *folders))
        included += [place for place in places if os.path.isfile(place)][:1]
    return DECLARATION.search(text) is not None, included


def needs_tidy(batch):
    """Whether a file of the batch, or of the project's headers in it, has a DECLARATION."""
    folders = tuple(word[2:] for word in batch.arguments() if word.startswith("-I"))
    todo, seen = list(batch.sources), set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        found, included = look_at(path, folders)
        if found:
            return True
        todo += included
    return False


def stamp(path):
    """The state of a file: its content in the tree, its date in the system."""
    if path.startswith("/usr/"):
        status = os.stat(path)
        return f"{status.st_mtime_ns} {status.st_size}"
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class Cache:
    """The batches that were clean, and the files that they read."""

    def __init__(self, path, settings):
        self.path = path
        self.settings = settings
        self.clean = {}
        self.stamps = {}
        self.saved = time.monotonic()
        try:
            kept = json.loads(path.read_text())
            if kept["settings"] == settings:
                self.clean = kept["clean"]
        except (OSError, ValueError, KeyError):
            pass

    def stamp(self, path):
        if path not in self.stamps:
            try:
                self.stamps[path] = stamp(path)
            except OSError:
                self.stamps[path] = "gone"
        return self.stamps[path]

    def is_clean(self, batch):
        kept = self.clean.get(batch.name)
        return (kept is not None and kept["arguments"] == batch.arguments() and kept["sources"] == batch.sources
                and all(self.stamp(path) == state for path, state in kept["read"].items()))

    def add(self, batch, headers):
        """Adds a clean batch. `headers` is what its run read; None: not known, or that of other batches, too."""
        if headers is None:
            read = subprocess.run(["clang++", *batch.arguments(), "-M", batch.main], cwd=batch.entry["directory"],
                                  capture_output=True, text=True, check=True).stdout
            names = shlex.split(read.replace("\\\n", " ").split(":", 1)[1])
        else:
            names = [batch.main, *headers]
        paths = {os.path.normpath(os.path.join(batch.entry["directory"], name)) for name in names}
        self.clean[batch.name] = {"arguments": batch.arguments(), "sources": batch.sources,
                                  "read": {path: self.stamp(path) for path in sorted(paths)}}

    def forget(self, batch):
        self.clean.pop(batch.name, None)

    def save_sometimes(self):
        """Its text has many megabytes: to write it after each run would take longer than many a run."""
        if time.monotonic() - self.saved > SAVE_INTERVAL:
            self.save()

    def save(self):
        self.saved = time.monotonic()
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"settings": self.settings, "clean": self.clean}))
        new.replace(self.path)


def config_of(source):
    """The .clang-tidy that applies to a file: the nearest one above it."""
    return next(folder / ".clang-tidy" for folder in pathlib.Path(source).parents if (folder / ".clang-tidy").exists())


def run(batch, options, plain=False):
    """Runs clang-tidy, or only clang if `plain`. Returns its output, whether it has findings, and the headers that it
    read (None: it listed none)."""
    # A syntax tree has very many small objects, for which huge pages and preallocation save time.
    environment = dict(os.environ, GLIBC_TUNABLES="glibc.malloc.hugetlb=1:glibc.malloc.top_pad=134217728")
    with tempfile.NamedTemporaryFile(mode="r", prefix="clang-tidy.", suffix=".headers") as listing:
        # Options of the compiler proper, because clang-tidy drops -M.
        words = [*batch.arguments()]
        for word in ("-header-include-file", listing.name, "-sys-header-deps"):
            words += ["-Xclang", word]
        if plain:
            command = ["clang++", *words, "-Werror", "-fsyntax-only", batch.main]
        else:
            command = ["clang-tidy", *options, f"--config-file={config_of(batch.sources[0])}", "--quiet",
                       "--warnings-as-errors=*", batch.main, "--", *words]
        done = subprocess.run(command, cwd=batch.entry["directory"], env=environment,
                              capture_output=True, text=True, check=False)
        headers = listing.read().splitlines()
    said = [line for line in (done.stdout + done.stderr).splitlines() if not NOISE.match(line)]
    return said, done.returncode != 0, headers or None


def run_joined(joined, options, without_tidy):
    """Like run(), with None for the headers of several batches.

    If the files do not compile together, because two define the same name, runs each batch by itself. Runs
    clang alone on a batch of `without_tidy`.
    """
    said, found, headers = run(joined, options, plain=joined.batches[0] in without_tidy)
    if len(joined.batches) == 1:
        return said, found, headers
    if any("[clang-diagnostic-error]" in line for line in said):
        results = [run(batch, options) for batch in joined.batches]
        return [line for lines, _, _ in results for line in lines], any(failed for _, failed, _ in results), None
    return said, found, None


def new_findings(said, seen):
    """The lines, without findings that were printed before."""
    lines, wanted = [], True
    for line in said:
        finding = FINDING.match(line)
        if finding:
            wanted = finding.groups() not in seen
            seen.add(finding.groups())
        if wanted:
            lines.append(line)
    return lines


def main():
    parser = argparse.ArgumentParser(description="clang-tidy over a configured build")
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("files", nargs="*", help="these source files alone, each by itself")
    parser.add_argument("--checks", help="these checks, not those of .clang-tidy")
    parser.add_argument("--clang", action="store_true",
                        help="the checks are misc-unused-using-decls, misc-unused-alias-decls and those of clang: run "
                        "clang itself, which is faster, on files without such declarations")
    parser.add_argument("--deep", action="store_true", help="follow three times as many paths of a function")
    arguments = parser.parse_intermixed_args()
    build = arguments.build.resolve()
    options = [f"--checks={arguments.checks}"] if arguments.checks else []
    if not arguments.deep:
        # The number of steps after which the static analyzer stops in a function. Its default,
        # 225,000, takes three times as long; all but a few functions need far fewer.
        options += [f"--extra-arg={word}" for word in ("-Xclang", "-analyzer-config", "-Xclang", "max-nodes=75000")]
    version = subprocess.run(["clang-tidy", "--version"], capture_output=True, text=True, check=True).stdout
    chosen = {os.path.realpath(path) for path in arguments.files}
    batches = batches_of(build, chosen)
    configs = sorted({str(config_of(source)) for batch in batches for source in batch.sources})
    settings = [version, options, arguments.clang, *(pathlib.Path(path).read_text() for path in configs)]
    cache = Cache(build / "clang-tidy.json", settings)
    total = len({source for batch in batches for source in batch.sources})
    todo = [batch for batch in batches if chosen or not cache.is_clean(batch)]
    runs = join(todo, build / "clang-tidy")
    # In a build without unity, where each run has one batch.
    without_tidy = {batch for batch in todo if arguments.clang and not needs_tidy(batch)}
    print(f"clang-tidy: {total} files in {len(batches)} batches, {len(batches) - len(todo)} of them unchanged "
          f"since they were clean; {len(runs)} runs, {len(without_tidy)} of them of clang alone", flush=True)
    failed, seen, began = 0, set(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        running = {pool.submit(run_joined, joined, options, without_tidy): joined for joined in runs}
        for count, future in enumerate(concurrent.futures.as_completed(running), 1):
            joined = running[future]
            said, found, headers = future.result()
            for batch in joined.batches:
                cache.forget(batch)
                if not found and not chosen:
                    cache.add(batch, headers)
            if found:
                failed += 1
                print("\n".join(new_findings(said, seen)))
            print(f"clang-tidy: {count}/{len(runs)} {joined.name}{': FAILED' if found else ''} "
                  f"({time.monotonic() - began:.0f} s)", flush=True)
            cache.save_sometimes()
    cache.save()
    pathlib.Path(build / "clang-tidy.count").write_text(f"{total}\n")
    return 1 if failed or not total else 0


if __name__ == "__main__":
    sys.exit(main())
