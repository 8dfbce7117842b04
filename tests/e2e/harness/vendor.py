"""A vendor's key server over https, with a certificate authority of its own, and RSA signatures by openssl."""

import base64
import http.server
import json
import ssl
import subprocess
import threading
import time
import zlib

from . import ports


def _openssl(*arguments, stdin=None):
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=True).stdout


def b64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    """An RSA key with a certificate that an authority (`certificates.Authority`) signs, or none but itself."""

    def __init__(self, directory, name, authority=None):
        self.name = name
        self.path = directory / f"{name}.key"
        self.certificate = directory / f"{name}.pem"
        config = directory / "openssl.cnf"
        config.write_text("[req]\ndistinguished_name = dn\n[dn]\n")
        issuer = ("-CA", authority.file, "-CAkey", authority.key) if authority else ()
        _openssl(
            "req", "-config", config, "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.path, "-out", self.certificate,
            "-days", 30, "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost",
            "-addext", "basicConstraints=critical,CA:FALSE", *issuer,
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


class CurveKey:
    """An ECDSA key on P-521."""

    def __init__(self, directory, name):
        self.name = name
        self.path = directory / f"{name}.ec"
        _openssl("ecparam", "-name", "secp521r1", "-genkey", "-noout", "-out", self.path)

    def sign(self, message):
        """ES512: both numbers at their full length."""
        der = _openssl("dgst", "-sha512", "-sign", self.path, stdin=message)
        at = 3 if der[1] == 0x81 else 2
        numbers = []
        for _ in range(2):
            length = der[at + 1]
            numbers.append(int.from_bytes(der[at + 2 : at + 2 + length], "big").to_bytes(66, "big"))
            at += 2 + length
        return b"".join(numbers)

    def jwk(self):
        point = _openssl("ec", "-in", self.path, "-pubout", "-outform", "DER")[-132:]
        coordinates = {"x": b64url(point[:66]), "y": b64url(point[66:])}
        return {"kty": "EC", "crv": "P-521", "alg": "ES512", "kid": self.name, **coordinates}


def paypal(key, url, body, *, webhook="WEBHOOK"):
    """The headers with which PayPal sends `body`, signed by the key whose certificate is at `url`."""
    sent = {"id": "69cd13f0", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    message = f"{sent['id']}|{sent['time']}|{webhook}|{zlib.crc32(body)}"
    return {
        "paypal-transmission-id": sent["id"],
        "paypal-transmission-time": sent["time"],
        "paypal-transmission-sig": base64.b64encode(key.sign(message.encode())).decode(),
        "paypal-cert-url": url,
        "paypal-auth-algo": "SHA256withRSA",
    }


class Vendor:
    """Serves `pages` (path to status and body, or to a place to redirect to) on https://localhost; `asked` holds the paths
    that were asked for, with their queries. A body may be a function that gives pieces, sent as they come without a length;
    `cut` holds the paths whose asker went away before the end."""

    def __init__(self, directory):
        self.tls = Key(directory, "localhost")
        self.port = ports.free()
        self.pages = {}
        self.asked = []
        self.cut = []
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
                if isinstance(body, bytes):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    for piece in [body] if isinstance(body, bytes) else body():
                        self.wfile.write(piece)
                except OSError:
                    vendor.cut.append(self.path)

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
