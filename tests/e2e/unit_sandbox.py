#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""unit_sandbox.py UNIT ROOT COMMAND...: runs the command as systemd would run it for that unit.

In ROOT, with the system calls, capabilities, address families and executable memory that the unit
permits, and with /proc/sys as ProtectKernelTunables and ReadWritePaths make it. It replaces systemd where that cannot run, for the settings that are named below, and
refuses a unit with an unknown setting.
"""

import ctypes
import errno
import os
import socket
import subprocess
import sys

import seccomp
from seccomp import ALLOW, EQ, ERRNO, MASKED_EQ, Arg, SyscallFilter

# These, and ReadWritePaths elsewhere than in /proc/sys, make mounts and environments; a test in this sandbox would not notice their effect.
OTHERS = {
    "Type", "EnvironmentFile", "ExecStart", "KillSignal", "Restart", "RestartSec", "RestartPreventExitStatus",
    "LimitMEMLOCK", "UMask", "ProtectSystem", "ProtectControlGroups",
    "ProtectKernelModules", "ProtectKernelLogs", "ProtectClock", "ProtectHostname", "ProtectHome", "PrivateTmp",
    "PrivateDevices", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "SystemCallArchitectures",
}
NAMESPACES = 0x7E020000 | 0x00000080  # CLONE_NEW*
PROT_WRITE_EXEC = (2, 4)
CLONE_NEWNS, MS_RDONLY, MS_REMOUNT, MS_BIND, MS_PRIVATE = 0x20000, 1, 32, 4096, 1 << 18
TUNABLES = "/proc/sys"
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 23, 24, 38


def service(path):
    """The section [Service]: name → values in their order."""
    settings, section = {}, ""
    with open(path, encoding="utf-8") as unit:
        for line in map(str.strip, unit):
            if line.startswith("["):
                section = line
            elif section == "[Service]" and line and line[0] not in "#;":
                name, value = line.split("=", 1)
                settings.setdefault(name, []).append(value)
    return settings


def expanded(words):
    """The system calls by name. systemd lists the members of its groups, which may be groups."""
    calls, todo = set(), list(words)
    while todo:
        word = todo.pop()
        if not word.startswith("@"):
            calls.add(word)
            continue
        listing = subprocess.run(["systemd-analyze", "syscall-filter", word], check=True, stdout=subprocess.PIPE, text=True)
        todo += [line.strip() for line in listing.stdout.splitlines()[1:] if line.strip() and line.strip()[0] != "#"]
    return calls


def allow_only(calls, error):
    rules = SyscallFilter(ERRNO(error))
    known = 0
    for call in sorted(calls):
        if seccomp.resolve_syscall(seccomp.Arch(), call) >= 0:
            rules.add_rule(ALLOW, call)
            known += 1
    if known < 100:
        raise SystemExit(f"only {known} system calls of the unit are known here")
    rules.load()


def refuse(settings):
    rules = SyscallFilter(ALLOW)
    families = settings.pop("RestrictAddressFamilies", [""])[0].split()
    if families:
        allowed = {int(getattr(socket, name)) for name in families}
        for family in set(range(64)) - allowed:
            rules.add_rule(ERRNO(errno.EAFNOSUPPORT), "socket", Arg(0, EQ, family))
    if settings.pop("MemoryDenyWriteExecute", ["no"]) == ["yes"]:
        write, execute = PROT_WRITE_EXEC
        rules.add_rule(ERRNO(errno.EPERM), "mmap", Arg(2, MASKED_EQ, write | execute, write | execute))
        for call in ("mprotect", "pkey_mprotect"):
            rules.add_rule(ERRNO(errno.EPERM), call, Arg(2, MASKED_EQ, execute, execute))
    if settings.pop("RestrictNamespaces", ["no"]) == ["yes"]:
        # A filter cannot read the flags of clone3(), which are behind a pointer.
        rules.add_rule(ERRNO(errno.ENOSYS), "clone3")
        for call in ("unshare", "setns"):
            rules.add_rule(ERRNO(errno.EPERM), call)
        for bit in range(32):
            if NAMESPACES >> bit & 1:
                rules.add_rule(ERRNO(errno.EPERM), "clone", Arg(0, MASKED_EQ, 1 << bit, 1 << bit))
    rules.load()


def mount(libc, source, target, flags):
    libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
    if libc.mount(source.encode(), target.encode(), None, flags, None) != 0:
        raise SystemExit(f"cannot mount {source} on {target}: {os.strerror(ctypes.get_errno())}")


def protect_tunables(libc, settings):
    """/proc/sys of the root, read-only but for ReadWritePaths, in a mount namespace of its own."""
    if settings.pop("ProtectKernelTunables", ["no"]) != ["yes"]:
        raise SystemExit("the unit does not protect /proc/sys")
    paths = [path.lstrip("-+") for path in " ".join(settings.pop("ReadWritePaths", [])).split()]
    if libc.unshare(CLONE_NEWNS) != 0:
        raise SystemExit(f"cannot unshare mounts: {os.strerror(ctypes.get_errno())}")
    mount(libc, "none", "/proc", MS_PRIVATE)
    # Opened here, because a bind mount has the flags of the mount in which the file was opened.
    files = {path: os.open(path, os.O_PATH) for path in paths if path.startswith(TUNABLES + "/")}
    mount(libc, TUNABLES, TUNABLES, MS_BIND)
    mount(libc, TUNABLES, TUNABLES, MS_BIND | MS_REMOUNT | MS_RDONLY)
    for path, file in files.items():
        mount(libc, f"/proc/self/fd/{file}", path, MS_BIND)
        os.close(file)


def numbers_of(names):
    libcap = ctypes.CDLL("libcap.so.2")
    numbers = set()
    for name in names:
        number = ctypes.c_int()
        if libcap.cap_from_name(name.lower().encode(), ctypes.byref(number)) != 0:
            raise SystemExit(f"no capability {name}")
        numbers.add(number.value)
    return numbers


def keep_capabilities(libc, kept):
    number = 0
    while libc.prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        if number not in kept and libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            raise SystemExit(f"cannot drop capability {number}: {os.strerror(ctypes.get_errno())}")
        number += 1
    if number <= max(kept):
        raise SystemExit("the kernel does not know all the capabilities of the unit")


def main():
    unit, root, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    settings = {name: values for name, values in service(unit).items() if name not in OTHERS}
    # Everything that uses programs of this machine comes before chroot(2). systemd always
    # permits the default system calls and execve(2).
    calls = expanded(["@default", "execve", *settings.pop("SystemCallFilter")[0].split()])
    error = getattr(errno, settings.pop("SystemCallErrorNumber")[0])
    no_new_privileges = settings.pop("NoNewPrivileges") == ["yes"]
    capabilities = numbers_of(settings.pop("CapabilityBoundingSet")[0].split())
    libc = ctypes.CDLL(None, use_errno=True)
    os.chroot(root)
    os.chdir("/")
    protect_tunables(libc, settings)
    keep_capabilities(libc, capabilities)
    if no_new_privileges and libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise SystemExit("PR_SET_NO_NEW_PRIVS failed")
    refuse(settings)
    if settings:
        raise SystemExit(f"{unit} has settings that this does not know: {', '.join(sorted(settings))}")
    allow_only(calls, error)
    os.execv(command[0], command)


main()
