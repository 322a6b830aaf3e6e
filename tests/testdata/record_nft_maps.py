#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the kernel's replies to NFT_MSG_GETSETELEM for kube-proxy's NodePort maps.

Run it in a network namespace of its own that holds the rules; see README.md.
"""

import os
import socket
import struct

NETLINK_NETFILTER = 12
GETSETELEM = (10 << 8) | 13  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETSETELEM
REQUEST_DUMP = 0x1 | 0x300
LAST = (2, 3)  # NLMSG_ERROR, NLMSG_DONE


def attribute(number, text):
    value = text.encode() + b"\0"
    return struct.pack("=HH", 4 + len(value), number) + value + b"\0" * (-len(value) % 4)


def dump(table, name):
    body = struct.pack("=BBH", socket.AF_INET, 0, 0) + attribute(1, table) + attribute(2, name)
    reply = b""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(body), GETSETELEM, REQUEST_DUMP, 1, 0) + body)
        while True:
            piece = netlink.recv(65536)
            reply += piece
            while piece:
                length, number = struct.unpack("=IH", piece[:6])
                if number in LAST:
                    return reply
                piece = piece[(length + 3) & ~3 :]


for name in ("service-nodeports", "no-endpoint-nodeports"):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"kube-proxy-1.36-{name}.bin")
    with open(path, "wb") as file:
        file.write(dump("kube-proxy", name))
