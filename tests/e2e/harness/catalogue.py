"""Every provider file of the catalogue, as a source with secrets of its own."""

import base64
import json
import tomllib
from dataclasses import dataclass
from functools import cached_property

from .bridge import REPOSITORY


@dataclass(frozen=True)
class Provider:
    name: str
    contract: dict

    @property
    def verify(self):
        return self.contract["verify"]

    @property
    def path(self):
        return f"/webhooks/{self.name}"

    @property
    def public_url(self):
        return f"https://hooks.example.com{self.path}"

    @property
    def success_status(self):
        return self.contract.get("success_status", 200)

    @property
    def example(self):
        """The first example that bears a proof."""
        return next(example for example in self.contract["example"] if not example.get("unsigned"))

    def secret(self, name="current"):
        """A secret in the form in which this provider writes them; each `name` has its own."""
        text = f"canary-{self.name}-{name}-0123456789abcdef"
        form, _, prefix = self.verify.get("secret", "utf8").partition(":")
        if self.verify["kind"] == "basic":
            return f"user:{text}"
        if self.name == "contentful":
            return text.ljust(64, "0")  # Its library takes no other length.
        if form in ("base64", "base64-after"):
            return prefix + base64.b64encode(text.encode()).decode()
        return text.encode().hex() if form == "hex" else text

    @cached_property
    def signs_privately(self):
        """Whether only the sender has the key."""
        algorithms = self.verify.get("algorithms", [])
        families = ("signature", "sns", "truelayer")
        return self.verify["kind"] in families or any(not name.startswith("HS") for name in algorithms)

    @property
    def covers_body(self):
        """Whether any change of the body breaks the signature."""
        message = self.verify.get("message", "")
        parts = ("{body}", "{form_sorted}", "{url_form_sorted}", "{body_with_secret:")
        return any(part in message for part in parts) or "claim" in self.verify.get("body_hash", {})

    @property
    def is_timed(self):
        """Whether a request can be too old."""
        stamp = self.verify.get("timestamp", {"enforce": False})
        return stamp.get("enforce", True) or self.verify["kind"] == "jwt"

    def faults(self):
        """The faults that this scheme can tell, with the code of each one's refusal."""
        told = {"bad-signature": "signature_mismatch", "missing-signature": "signature_missing"}
        if self.covers_body or "{body:" in self.verify.get("message", "") or "{form:" in self.verify.get("message", ""):
            told["tampered"] = "signature_mismatch"
        if self.is_timed:
            told["stale"] = "timestamp_out_of_tolerance"
        return told

    def source(self, *secrets, key=None, options=None):
        """Its `[sources.*]` table."""
        lines = [f'[sources.{self.name}]\nprovider = "{self.name}"\npublic_url = "{self.public_url}"']
        if self.signs_privately:
            # Some need none: the request itself shows the chain of its key.
            if key := key or self.example.get("secret"):
                lines.append(f"public_keys = [{json.dumps('literal:' + key)}]")
        else:
            secrets = secrets or (self.secret(),)
            lines.append(f"secrets = {json.dumps(['literal:' + secret for secret in secrets])}")
        options = options or self.example.get("options", {})
        if options:
            lines.append(f"[sources.{self.name}.options]")
            lines += [f"{name} = {json.dumps(value)}" for name, value in options.items()]
        return "\n".join(lines) + "\n\n"


def providers():
    """All of them by name."""
    files = sorted((REPOSITORY / "providers").glob("*.toml"))
    return {file.stem: Provider(file.stem, tomllib.loads(file.read_text())) for file in files}
