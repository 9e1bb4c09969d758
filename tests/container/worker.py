"""A server that knows nothing of pyinit: binds its port itself and stops politely.

`/` tells who answers; `/slow` takes 300 ms, so that a stop finds requests in hand;
`/orphans/N` leaves N orphans behind, which end at once.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.3)
        if self.path.startswith("/orphans/"):
            script = f"for i in $(seq {int(self.path[9:])}); do (sh -c 'exit 0' &) ; done"
            subprocess.run(["sh", "-c", script], check=True)
        body = json.dumps(
            {"instance": os.environ.get("NODE_APP_INSTANCE"), "pid": os.getpid()}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        pass


class Server(ThreadingHTTPServer):
    # server_close waits for the requests in hand.
    daemon_threads = False


server = Server(("0.0.0.0", int(sys.argv[1])), Handler)


def stop(_number, _frame):
    threading.Thread(target=server.shutdown).start()


if "--deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
print("worker", os.getpid(), "serves", flush=True)
server.serve_forever()
server.server_close()
