"""A vendor's key server over https, with a certificate authority of its own, and RSA signatures by openssl."""

import base64
import http.server
import json
import ssl
import subprocess
import threading

from . import ports


def _openssl(*arguments, stdin=None):
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=True).stdout


def b64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    """An RSA key with a self-signed certificate."""

    def __init__(self, directory, name):
        self.name = name
        self.path = directory / f"{name}.key"
        self.certificate = directory / f"{name}.pem"
        config = directory / "openssl.cnf"
        config.write_text("[req]\ndistinguished_name = dn\n[dn]\n")
        _openssl(
            "req", "-config", config, "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.path, "-out", self.certificate,
            "-days", 30, "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost",
            "-addext", "basicConstraints=critical,CA:FALSE",
        )

    def sign(self, message, digest="sha256"):
        return _openssl("dgst", f"-{digest}", "-sign", self.path, stdin=message)

    def jwk(self):
        said = _openssl("rsa", "-in", self.path, "-noout", "-modulus").decode()
        modulus = bytes.fromhex(said.strip().split("=")[1])
        return {"kty": "RSA", "alg": "RS256", "kid": self.name, "n": b64url(modulus), "e": "AQAB"}

    def jwt(self, claims, **header):
        head = {"alg": "RS256", "kid": self.name, **header}
        signed = ".".join(b64url(json.dumps(part).encode()) for part in (head, claims))
        return f"{signed}.{b64url(self.sign(signed.encode()))}"


class Vendor:
    """Serves `pages` (path to status and body, or to a place to redirect to) on https://localhost; `asked` holds the paths
    that were asked for, with their queries."""

    def __init__(self, directory):
        self.tls = Key(directory, "localhost")
        self.port = ports.free()
        self.pages = {}
        self.asked = []
        self.server = None

    @property
    def env(self):
        return {"SSL_CERT_FILE": str(self.tls.certificate)}

    def url(self, path):
        return f"https://localhost:{self.port}{path}"

    def start(self):
        vendor = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                vendor.asked.append(self.path)
                status, body = vendor.pages.get(self.path.split("?")[0], (404, b""))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", body.decode())
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.tls.certificate, self.tls.path)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def stop(self):
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
