"""An SQS endpoint that answers as a test says: emulators never throttle, and fail no entry alone."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeSqs:
    """One queue. `plan(calls, entries)` is asked before each batch: a status and an error code for all of it, or a
    dict of the entries that fail: their index, a code and whether the sender is at fault."""

    region = "eu-west-1"

    def __init__(self, plan):
        self.taken, self.calls = [], 0
        fake, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                action = self.headers["X-Amz-Target"].rpartition(".")[2]
                with lock:
                    status, reply = fake._answer(action, request, plan)
                body = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.endpoint}/000000000000/queue"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, action, request, plan):
        if action == "GetQueueAttributes":
            return 200, {"Attributes": {"MaximumMessageSize": "1048576"}}
        assert action == "SendMessageBatch", action
        self.calls += 1
        entries = request["Entries"]
        said = plan(self.calls, entries)
        if isinstance(said, tuple):
            status, code = said
            return status, {"__type": f"com.amazonaws.sqs#{code}", "message": code}
        done, failed = [], []
        for index, entry in enumerate(entries):
            if index in said:
                code, fault = said[index]
                failed.append({"Id": entry["Id"], "Code": code, "SenderFault": fault, "Message": code})
            else:
                self.taken.append(entry["MessageBody"].encode())
                digest = hashlib.md5(entry["MessageBody"].encode()).hexdigest()
                done.append({"Id": entry["Id"], "MessageId": str(len(self.taken)), "MD5OfMessageBody": digest})
        return 200, {"Successful": done, "Failed": failed}

    def close(self):
        self._server.shutdown()
        self._server.server_close()
