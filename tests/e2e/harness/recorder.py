"""Stands between a sender and the bridge: passes every request on as it is, and remembers it and its answer."""

import threading
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .http import Client, Reply


@dataclass(frozen=True)
class Request:
    """A request as it went over the wire; `url` is what its sender was given."""

    method: str
    target: str
    headers: list
    body: bytes
    url: str
    reply: Reply = None

    def of(self, **changes):
        return replace(self, **changes)


class Recorder:
    """Listens on a port of its own; `take` gives what came since the last time."""

    def __init__(self, port):
        recorder = self
        self._requests = []
        self._lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = [(name, value) for name, value in self.headers.items() if name.lower() != "host"]
                client = Client(port)
                reply = client.request(self.command, self.path, headers, body)
                client.close()
                with recorder._lock:
                    recorder._requests.append(Request(self.command, self.path, headers, body, "", reply))
                self.send_response(reply.status)
                for name in ("content-type", "retry-after"):
                    if name in reply.headers:
                        self.send_header(name, reply.headers[name])
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_POST = do_GET = do_PUT = handle_one

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self):
        with self._lock:
            taken, self._requests = self._requests, []
        return taken

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
