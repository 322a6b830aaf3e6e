#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""record_nft_rules.py FILE: makes the messages in FILE (nft-rules.hex) anew.

FILE has a line "rule COMMAND" or "chain FAMILY NAME" and, below it, the payload of the kernel's
message in hexadecimal. A COMMAND is "FAMILY EXPRESSIONS" for nft, or an iptables command. Run it
in a network namespace of its own without rules; see README.md.
"""

import pathlib
import socket
import struct
import subprocess
import sys

NETLINK_NETFILTER = 12
GETCHAIN, GETRULE = 4, 7
REQUEST_DUMP = 0x1 | 0x300
ERROR, DONE = 2, 3
FAMILIES = {"inet": 1, "ip": 2, "ip6": 10}
# What the rules refer to.
TABLE = """table %(family)s t {
  set ports { type inet_service; }
  set pairs { type %(address)s . inet_service; }
  map v { type %(address)s . inet_proto . inet_service : verdict; }
  map pm { type inet_service : %(address)s . inet_service; }
  map vp { type inet_proto . inet_service : verdict; }
  map am { type inet_service : %(address)s; }
  set dyn { type %(address)s; flags dynamic; timeout 1m; }
  counter c {}
  quota q { over 1 mbytes }
  chain x {}
  chain y { type nat hook output priority -100; policy accept; }
  chain z { type filter hook input priority 5; policy drop; }
  chain f { type filter hook forward priority 5; policy drop; }
  chain r {}
}
"""


def dump(command, family):
    """The payloads of the kernel's answer."""
    payloads = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.send(struct.pack("=IHHIIBBH", 20, (10 << 8) | command, REQUEST_DUMP, 1, 0, family, 0, 0))
        while True:
            piece = netlink.recv(1 << 17)
            while piece:
                length, number = struct.unpack("=IH", piece[:6])
                if number == DONE:
                    return payloads
                if number == ERROR:
                    raise OSError(f"the kernel refused request {command}")
                payloads.append(piece[16:length])
                piece = piece[(length + 3) & ~3 :]


def attributes(payload):
    """Type to text, of the outer attributes behind the header."""
    found, rest = {}, payload[4:]
    while len(rest) >= 4:
        length, number = struct.unpack("=HH", rest[:4])
        found[number & 0x3FFF] = rest[4:length].rstrip(b"\0").decode("latin-1")
        rest = rest[(length + 3) & ~3 :]
    return found


def nft(text):
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def record(command):
    """The last rule of the chain that the command adds to."""
    words = command.split()
    if words[0] in FAMILIES:
        nat = {"redirect", "dnat", "masquerade", "snat"} & set(words)
        family, chain = FAMILIES[words[0]], "y" if nat else "r"
        where = f"{words[0]} t {chain}"
        nft(f"flush chain {where}\nadd rule {where} {command.split(' ', 1)[1]}\n")
        clear = lambda: nft(f"flush chain {where}\n")
    else:
        program = words[0].replace("tables", "tables-nft")
        family, chain = 10 if program.startswith("ip6") else 2, "OUTPUT"
        subprocess.run([program, *words[1:]], check=True)
        clear = lambda: subprocess.run([program, "-t", words[2], "-F", chain], check=True)
    rules = [payload for payload in dump(GETRULE, family) if attributes(payload).get(2) == chain]
    clear()
    return rules[-1]


def main():
    path = pathlib.Path(sys.argv[1])
    names = path.read_text().splitlines()[::2]
    for family in FAMILIES:
        nft(TABLE % {"family": family, "address": "ipv6_addr" if family == "ip6" else "ipv4_addr"})
    lines = []
    for name in names:
        kind, rest = name.split(" ", 1)
        if kind == "rule":
            lines += [name, record(rest).hex()]
            continue
        family, chain = rest.split()
        lines += [name] + [payload.hex() for payload in dump(GETCHAIN, int(family))
                           if (payload[0], attributes(payload).get(1), attributes(payload).get(3))
                           == (int(family), "t", chain)]
    path.write_text("\n".join(lines) + "\n")


main()
