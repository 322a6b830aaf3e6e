# SPDX-License-Identifier: Apache-2.0
"""Listens on the port that is its argument until it is killed."""

import socket
import sys

server = socket.create_server(("", int(sys.argv[1])))
print("listening", flush=True)
server.accept()
