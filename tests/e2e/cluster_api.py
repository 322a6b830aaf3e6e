# SPDX-License-Identifier: Apache-2.0
"""An API server that grants the rules of a ClusterRole and records the requests."""

import http.server
import json
import re
import ssl
import threading
import urllib.parse

PATH = re.compile(r"^/(?:api|apis/(?P<group>[^/]+))/v1(?:/namespaces/[^/]+)?"
                  r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?$")
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def granted(rules):
    """The (group, resource, verb) of a ClusterRole's rules."""
    return {(group, resource, verb) for rule in rules for group in rule["apiGroups"]
            for resource in rule["resources"] for verb in rule["verbs"]}


def status(code, reason):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}


class ClusterApi(http.server.ThreadingHTTPServer):
    """HTTPS on 127.0.0.1:`port`. It has one Service, shop/web, with the NodePort
    `node_port`; every Event exists already, so that a client has to patch it.
    A request without the token gets 401, one that `rules` do not grant gets 403."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port, certificate, key, token, rules, node_port):
        self.token, self.granted = token, granted(rules)
        self.asked, self.refused = set(), set()
        self.ending = threading.Event()
        self.service = {
            "kind": "Service", "apiVersion": "v1",
            "metadata": {"namespace": "shop", "name": "web", "resourceVersion": "7",
                         "uid": "2b1f2a54-6c7e-4d5a-9c1e-000000000001"},
            "spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": node_port}]}}
        super().__init__(("127.0.0.1", port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """Ignores errors of a client that ended in the middle of a request."""

    def stop(self):
        self.ending.set()
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code, document):
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self.answer(401, status(401, "Unauthorized"))
        path = PATH.match(url.path)
        if not path:
            self.server.refused.add(f"{self.command} {url.path}")
            return self.answer(404, status(404, "NotFound"))
        watch = query.get("watch", [""])[0] in ("1", "true")
        verb = VERBS.get(self.command, "watch" if watch else "get" if path["name"] else "list")
        right = (path["group"] or "", path["resource"], verb)
        self.server.asked.add(right)
        if right not in self.server.granted:
            self.server.refused.add(right)
            return self.answer(403, status(403, "Forbidden"))
        if verb == "create":
            return self.answer(409, status(409, "AlreadyExists"))
        if verb == "patch":
            event = {"kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": path["name"]}}
            return self.answer(200, event | json.loads(body))
        if verb != "watch":
            return self.answer(200, {"kind": "ServiceList", "apiVersion": "v1",
                                     "metadata": {"resourceVersion": "7"}, "items": [self.server.service]})
        # As a server without WatchList, so that the client also requests a plain list.
        if "sendInitialEvents" in query:
            return self.answer(422, status(422, "Invalid"))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        bookmark = json.dumps({"type": "BOOKMARK", "object": {
            "kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "8"}}}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(bookmark), bookmark))
        self.wfile.flush()
        self.server.ending.wait(600)
        self.close_connection = True
        return None

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one
