# SPDX-License-Identifier: Apache-2.0
"""The pod behind the Service: answers with the request line."""

import http.server


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = f"pod web received {self.command} {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # the demo sends many requests at once


Server(("0.0.0.0", 8080), Handler).serve_forever()
