"""Serves what it has counted to on all addresses; works hard all the while."""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import signs
from signs import load

COUNT = [0]


class Answer(BaseHTTPRequestHandler):
    """GET anything."""

    def do_GET(self) -> None:
        """The count, the node, and which start this is."""
        document = {"count": COUNT[0], "node": os.uname().nodename, "start": signs.START_ID}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_: object) -> None:
        """No access log."""


server = ThreadingHTTPServer(("0.0.0.0", int(sys.argv[3])), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()
told = signs.reporter()
signs.ready()
while not signs.over():
    told.report()
    COUNT[0] += 1
    load.compute(0.02, float(sys.argv[4]))
server.shutdown()
sys.exit(4)
