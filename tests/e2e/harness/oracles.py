"""The vendors' signers and judges: a long-lived Node process for the npm SDKs, those from PyPI in this process.

`sign` gives the headers that prove a body, as that vendor's own SDK makes them. Only the custom source
has no vendor; its HMAC is made here.
"""

import base64
import hashlib
import hmac
import json
import subprocess
import threading
import time
from pathlib import Path

from slack_sdk.signature import SignatureVerifier

from . import anymail

HERE = Path(__file__).resolve().parent.parent.parent / "oracles"


def awkward(body):
    """Copies of a JSON body that only a signature over the very bytes survives; empty where it is no JSON."""
    at = body.find(b"{") + 1
    if not at or body[:1] not in b"{[":
        return
    comma = b"" if body[at:].lstrip().startswith(b"}") else b","
    for name, member in {
        "line breaks": b'\r\n "a" :\t"b"\r\n',
        "unicode": '"Žluťoučký 🦀": "日本語 \u2028 \u00a0"'.encode(),
        "escapes": rb'"a":"\u00e9\/\"\\\n\ud83e\udd80"',
        "numbers": b'"a":[1.10,1e400,12345678901234567890123,-0,1E+2,0.1e-7]',
        "duplicate keys": b'"dup":1,"dup":{"dup":2}',
    }.items():
        yield name, body[:at] + member + comma + body[at:]
    yield "trailing newline", body + b"\n"
    yield "blanks around", b" \t" + body + b"\r\n"


class Oracles:
    def __init__(self, node="node"):
        self._lock = threading.Lock()
        self._next = 0
        self._node = subprocess.Popen(
            [node, "signer.mjs"], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, **request):
        with self._lock:
            self._next += 1
            self._node.stdin.write(json.dumps({"id": self._next, **request}) + "\n")
            self._node.stdin.flush()
            line = self._node.stdout.readline()
        assert line, f"signer.mjs ended with status {self._node.poll()}"
        answer = json.loads(line)
        assert answer["id"] == self._next, f"an answer to another request: {line}"
        assert "error" not in answer, answer["error"]
        return answer

    def sign(self, provider, secret, body, *, timestamp=None, message="msg_1", headers=None):
        """The proving headers as a list of pairs; `timestamp` in Unix seconds, now if not given."""
        timestamp = int(time.time()) if timestamp is None else timestamp
        if provider == "slack":
            return self._slack(secret, body, timestamp)
        if provider == "custom":
            return self._custom(secret, body, timestamp)
        answer = self._ask(
            op="sign",
            provider=provider,
            secret=secret,
            body=base64.b64encode(body).decode(),
            timestamp=timestamp,
            message=message,
            headers=headers or {},
        )
        return list(answer["headers"].items())

    def vendors(self):
        """What the libraries can do, by provider; see vendors.mjs."""
        return {**anymail.VENDORS, **self._ask(op="vendors")["vendors"]}

    def signed(self, provider, secret, request, *, timestamp, message):
        """A request (see `judge`) with the proof that the vendor's own library makes for it."""
        asked = self._as_asked(provider, secret, request)
        answer = self._ask(op="sign", timestamp=timestamp, message=message, **asked)
        made = {name.lower() for name in answer["headers"]}
        kept = [pair for pair in request.headers if pair[0].lower() not in made]
        body = base64.b64decode(answer["body"]) if "body" in answer else request.body
        return request.of(headers=[*kept, *answer["headers"].items()], body=body)

    def judge(self, provider, secret, request):
        """Whether the vendor's own library accepts a request, and why not."""
        if provider in anymail.VENDORS:
            return anymail.judge(provider, secret, request)
        answer = self._ask(op="judge", **self._as_asked(provider, secret, request))
        return answer["accepted"], answer["why"]

    def answer(self, provider, secret, request):
        """What the vendor's own receiver answers to a check of the URL: `status`, `kind`, `body`, as far as it says."""
        answer = self._ask(op="answer", **self._as_asked(provider, secret, request))
        return {key: answer[key] for key in ("status", "kind", "body") if key in answer}

    @staticmethod
    def _as_asked(provider, secret, request):
        return {
            "provider": provider,
            "secret": secret,
            "body": base64.b64encode(request.body).decode(),
            "headers": dict(request.headers),
            "method": request.method,
            "url": request.url,
        }

    @staticmethod
    def _slack(secret, body, timestamp):
        verifier = SignatureVerifier(secret)
        signature = verifier.generate_signature(timestamp=str(timestamp), body=body)
        headers = {"X-Slack-Request-Timestamp": str(timestamp), "X-Slack-Signature": signature}
        if abs(time.time() - timestamp) < 290:
            assert verifier.is_valid_request(body, headers)
        return list(headers.items())

    @staticmethod
    def _custom(secret, body, timestamp):
        mac = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
        return [("X-Acme-Signature", f"t={timestamp},v1={mac}")]

    def github_examples(self):
        """Every payload of @octokit/webhooks-examples: pairs of event name and JSON bytes."""
        answer = self._ask(op="examples")
        return [(example["event"], base64.b64decode(example["body"])) for example in answer["examples"]]

    def close(self):
        self._node.stdin.close()
        try:
            self._node.wait(10)
        except subprocess.TimeoutExpired:
            self._node.kill()
            self._node.wait()
