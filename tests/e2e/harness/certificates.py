"""Certificates for tests, made by openssl: an authority, and what it signs."""

import subprocess


def _openssl(*arguments, cwd):
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True, timeout=30)


class Authority:
    """A certificate authority in a directory of its own; `file` is its certificate, `key` its key."""

    def __init__(self, directory, name="hookferry test authority"):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / "ca.pem"
        self.key = directory / "ca.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                 "-days", "30", "-keyout", "ca.key", "-out", "ca.pem", cwd=directory)  # fmt: skip

    def sign(self, cert, key, *, name="localhost", days=365):
        """Writes a certificate for `name` and 127.0.0.1, and its key."""
        names = self.directory / "names"
        names.write_text(f"subjectAltName=DNS:{name},IP:127.0.0.1\n")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", str(key), "-out", "request.pem", cwd=self.directory)  # fmt: skip
        _openssl("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                 "-days", str(days), "-extfile", "names", "-out", str(cert), cwd=self.directory)  # fmt: skip
