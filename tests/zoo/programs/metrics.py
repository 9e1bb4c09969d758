"""A metrics port beside the program: ends with its parent."""

import ctypes
import http.server
import socketserver
import sys

ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)


class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"metrics\n")

    def log_message(self, *_):
        pass


socketserver.TCPServer.allow_reuse_address = True
socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), Quiet).serve_forever()
