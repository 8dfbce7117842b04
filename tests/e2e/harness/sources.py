"""The eight sources of the suites, and one request of each as its sender would make it.

Names differ from the providers' on purpose where that can tell a mix-up.
"""

import itertools
import json
import os
import time
from dataclasses import dataclass, field

from . import secrets

CONFIG = """
[sources.code]
provider = "github"
secrets  = ["env:GITHUB_SECRET", "env:GITHUB_OLD_SECRET"]
headers  = ["x-github-*"]

[sources.pay]
provider = "stripe"
secrets  = ["env:STRIPE_SECRET"]

[sources.chat]
provider = "slack"
secrets  = ["env:SLACK_SECRET"]

[sources.shop]
provider = "shopify"
secrets  = ["env:SHOPIFY_SECRET"]

[sources.lab]
provider = "gitlab"
secrets  = ["env:GITLAB_SECRET"]

[sources.ai]
provider = "openai"
secrets  = ["env:OPENAI_SECRET"]

[sources.std]
provider = "standard-webhooks"
secrets  = ["env:STANDARD_SECRET"]

[sources.acme]
provider = "custom"
secrets  = ["env:ACME_SECRET"]
[sources.acme.verify]
kind      = "hmac"
hash      = "sha256"
encoding  = "hex"
signature = { header = "x-acme-signature", split = ",", prefix = "v1=" }
timestamp = { header = "x-acme-signature", split = ",", prefix = "t=" }
message   = "{timestamp}.{body}"
tolerance = "5m"
[sources.acme.event]
id   = "header:x-acme-id"
type = "body:/type"
"""


def only(*names):
    """The configuration of some of the sources."""
    sections = CONFIG.split("\n\n")
    return "\n\n".join(s.strip() for s in sections if any(f"[sources.{name}]" in s for name in names)) + "\n"


@dataclass
class Sent:
    """One webhook: what goes over the wire, and what a consumer must find."""

    source: str
    headers: list
    body: bytes
    id: str
    type: str
    provider: str
    extra: dict = field(default_factory=dict)

    @property
    def path(self):
        return f"/webhooks/{self.source}"


_numbers = itertools.count(1)
_run = os.urandom(4).hex()


def unique(prefix):
    """An id that no other request of this run has."""
    return f"{prefix}{_run}{next(_numbers):06d}"


SECRETS = {
    "code": ("github", secrets.ENV["GITHUB_SECRET"]),
    "pay": ("stripe", secrets.ENV["STRIPE_SECRET"]),
    "chat": ("slack", secrets.ENV["SLACK_SECRET"]),
    "shop": ("shopify", secrets.ENV["SHOPIFY_SECRET"]),
    "lab": ("gitlab", secrets.ENV["GITLAB_SECRET"]),
    "ai": ("openai", secrets.ENV["OPENAI_SECRET"]),
    "std": ("standard-webhooks", secrets.ENV["STANDARD_SECRET"]),
    "acme": ("custom", secrets.ENV["ACME_SECRET"]),
}
NAMES = list(SECRETS)


class Senders:
    """Makes requests as the vendors do."""

    def __init__(self, oracles):
        self.oracles = oracles

    def make(self, source, body=None, *, id=None, type=None, timestamp=None, secret=None, content_type="application/json"):
        """One signed request. A given `body` is sent as it is: where the provider keeps id or type in the
        body, the caller says what stands there."""
        provider, own_secret = SECRETS[source]
        id = id or unique({"pay": "evt_", "chat": "Ev", "lab": "gl-"}.get(source, "msg_"))
        if provider == "github":
            id = id if "-" in id else f"72d3162e-cc78-11e3-81ab-{id[-12:]:0>12}"
        kind, extra = type, []
        if source == "code":
            kind = type or "push"
            extra = [("X-GitHub-Event", kind), ("X-GitHub-Delivery", id), ("X-GitHub-Hook-ID", "292430182")]
            body = _json(body, {"ref": "refs/heads/main", "repository": {"full_name": "octo/hello"}, "n": id})
        elif source == "pay":
            kind = type or "invoice.paid"
            body = _json(body, {"id": id, "object": "event", "created": int(time.time()), "type": kind})
        elif source == "chat":
            kind = type or "app_mention"
            body = _json(
                body,
                {
                    "token": "x",
                    "team_id": "T1",
                    "type": "event_callback",
                    "event": {"type": kind, "text": "hi"},
                    "event_id": id,
                    "event_time": int(time.time()),
                },
            )
        elif source == "shop":
            kind = type or "orders/create"
            extra = [("X-Shopify-Event-Id", id)]
            body = _json(body, {"id": 820982911946154508, "n": id})
        elif source == "lab":
            kind = type or "Push Hook"
            extra = [("X-Gitlab-Event", kind), ("X-Gitlab-Event-UUID", id), ("X-Gitlab-Instance", "https://gitlab.com")]
            body = _json(body, {"object_kind": "push", "ref": "refs/heads/main", "n": id})
        elif source == "ai":
            kind = type or "batch.completed"
            body = _json(
                body, {"id": f"evt_{id}", "object": "event", "created_at": int(time.time()), "type": kind, "data": {"id": "b1"}}
            )
        elif source == "std":
            kind = type or "invoice.paid"
            body = _json(body, {"type": kind, "timestamp": "2026-11-23T10:00:00Z", "data": {"id": id}})
        elif source == "acme":
            kind = type or "order.created"
            extra = [("X-Acme-Id", id)]
            body = _json(body, {"type": kind, "n": id})
        shopify = {"X-Shopify-Topic": kind} if source == "shop" else {}
        proof = self.oracles.sign(
            provider,
            secret or own_secret,
            body,
            timestamp=timestamp,
            message=id,
            headers=shopify,
        )
        name = "acme" if provider == "custom" else provider
        headers = [("Host", "hooks.example.com"), ("Content-Type", content_type), *extra, *proof]
        return Sent(source, headers, body, id, f"{name}.{kind}", name)


def _json(given, made):
    return json.dumps(made).encode() if given is None else given


def with_header(headers, name, value):
    """The headers with one of them replaced; `None` takes it away."""
    kept = [(k, v) for k, v in headers if k.lower() != name.lower()]
    assert len(kept) < len(headers), f"no header {name}"
    return kept if value is None else [*kept, (name, value)]
