"""Every check by which a sender makes sure of its receiver: what its documentation demands, to the byte.

The expected answers are written here by hand from those pages, and the proofs are made here with Python's own hmac and
with openssl; nothing is read from the files of the catalogue, so a mistake in one of them is found. Where a vendor's
library answers by itself, its answer is compared as well.
"""

import base64
import hashlib
import hmac
import json
import subprocess
import time
from dataclasses import dataclass, field

import pytest

from harness.bridge import Bridge
from harness.recorder import Request
from harness.wait import until

TEXT = "text/plain"
JSON = "application/json"
AS_JSON = [("Content-Type", "application/json")]
AS_FORM = [("Content-Type", "application/x-www-form-urlencoded")]


# Proofs


def mac(secret, message, digest="sha256"):
    return hmac.new(secret.encode(), message.encode(), digest)


def slack(body, secret="slack-secret"):
    now = str(int(time.time()))
    return [("X-Slack-Request-Timestamp", now), ("X-Slack-Signature", "v0=" + mac(secret, f"v0:{now}:{body}").hexdigest())]


def front(body, secret="front-secret"):
    now = str(int(time.time() * 1000))
    signed = base64.b64encode(mac(secret, f"{now}:{body}").digest()).decode()
    return [("X-Front-Request-Timestamp", now), ("X-Front-Signature", signed)]


def zoom(body, secret="zoom-secret"):
    now = str(int(time.time()))
    return [("x-zm-request-timestamp", now), ("x-zm-signature", "v0=" + mac(secret, f"v0:{now}:{body}").hexdigest())]


def twitch(body, secret="twitch-secret", kind="webhook_callback_verification"):
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    signed = mac(secret, f"f1c2a387{now}{body}").hexdigest()
    return [
        ("Twitch-Eventsub-Message-Id", "f1c2a387"),
        ("Twitch-Eventsub-Message-Type", kind),
        ("Twitch-Eventsub-Message-Timestamp", now),
        ("Twitch-Eventsub-Message-Signature", f"sha256={signed}"),
        ("Twitch-Eventsub-Subscription-Type", "user.update"),
    ]


class Discord:
    """An application's Ed25519 key, by openssl."""

    def __init__(self, directory):
        self.path = directory / "discord.pem"
        self._openssl("genpkey", "-algorithm", "ed25519", "-out", self.path)
        self.public = self._openssl("pkey", "-in", self.path, "-pubout", "-outform", "DER")[-32:].hex()
        self.message = directory / "message"

    @staticmethod
    def _openssl(*arguments):
        return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=True).stdout

    def __call__(self, body):
        now = str(int(time.time()))
        self.message.write_text(now + body)
        signature = self._openssl("pkeyutl", "-sign", "-inkey", self.path, "-rawin", "-in", self.message).hex()
        return [("X-Signature-Timestamp", now), ("X-Signature-Ed25519", signature)]


def encrypted(secret, text):
    """As Lark encrypts: AES-256-CBC under the SHA-256 of the encrypt key, behind its initialisation vector."""
    key, vector = hashlib.sha256(secret.encode()).hexdigest(), bytes(range(16))
    command = ["openssl", "enc", "-aes-256-cbc", "-K", key, "-iv", vector.hex()]
    return base64.b64encode(vector + subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout).decode()


# What each sender asks, and what it demands


@dataclass(frozen=True)
class Check:
    """`body` and `headers` are the request's; `status`, `kind`, `answer` and `shows` what must come back."""

    source: str
    docs: str
    method: str
    target: str = ""
    headers: list = field(default_factory=list)
    body: str = ""
    proof: object = None
    status: int = 200
    kind: str = TEXT
    answer: str = ""
    shows: dict = field(default_factory=dict)

    def __str__(self):
        return f"{self.source} {self.method} {self.target or self.body or self.headers}"


META = "https://developers.facebook.com/docs/graph-api/webhooks/getting-started"
WHATSAPP = "https://developers.facebook.com/docs/whatsapp/cloud-api/guides/set-up-webhooks"
INSTAGRAM = "https://developers.facebook.com/docs/instagram-platform/webhooks"
STRAVA = "https://developers.strava.com/docs/webhooks/"
WEBSUB = "https://www.w3.org/TR/websub/#hub-verifies-intent"
YOUTUBE = "https://developers.google.com/youtube/v3/guides/push_notifications"
DROPBOX = "https://www.dropbox.com/developers/reference/webhooks"
NYLAS = "https://developer.nylas.com/docs/v3/notifications/"
ONFLEET = "https://docs.onfleet.com/reference/webhooks"
GRAPH = "https://learn.microsoft.com/graph/change-notifications-delivery-webhooks"
X = "https://docs.x.com/x-api/webhooks/quickstart"
LINKEDIN = "https://learn.microsoft.com/linkedin/shared/api-guide/webhook-validation"
BRAINTREE = "https://developer.paypal.com/braintree/docs/guides/webhooks/create"
FITBIT = "https://dev.fitbit.com/build/reference/web-api/developer-guide/using-subscriptions/"
SLACK = "https://docs.slack.dev/reference/events/url_verification"
TWITCH = "https://dev.twitch.tv/docs/eventsub/handling-webhook-events/#responding-to-a-challenge-request"
ZOOM = "https://developers.zoom.us/docs/api/webhooks/#validate-your-webhook-endpoint"
MONDAY = "https://developer.monday.com/apps/docs/webhooks"
LARK = "https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case"
SMARTCAR = "https://smartcar.com/docs/integrations/webhooks/callback-verification"
FRONT = "https://dev.frontapp.com/docs/application-webhooks"
OKTA = "https://developer.okta.com/docs/concepts/event-hooks/#one-time-verification-request"
RINGCENTRAL = "https://developers.ringcentral.com/guide/notifications/webhooks/creating-webhooks"
WORLDLINE = "https://docs.connect.worldline-solutions.com/documentation/webhooks/"
ASANA = "https://developers.asana.com/docs/webhooks-guide#the-webhook-handshake"
NOTION = "https://developers.notion.com/reference/webhooks"
DISCORD = "https://discord.com/developers/docs/interactions/overview#setting-up-an-endpoint-acknowledging-ping-requests"
DISCORD_EVENTS = "https://discord.com/developers/docs/events/webhook-events#preparing-for-events"
CLOUDEVENTS = "https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md#42-validation-response"
EVENTGRID = "https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema"
EVENTGRID_CE = "https://learn.microsoft.com/azure/event-grid/end-point-validation-cloud-events-schema"
FASTLY = "https://www.fastly.com/documentation/guides/integrations/logging-endpoints/log-streaming-https/"
TRELLO = "https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/"
MANDRILL = "https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/"
INTERCOM = "https://developers.intercom.com/docs/webhooks/setting-up-webhooks"
MAILCHIMP = "https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks/"
HEYGEN = "https://docs.heygen.com/reference/add-a-webhook-endpoint"
WOOCOMMERCE = "https://woocommerce.com/document/webhooks/"
DAILY = "https://docs.daily.co/reference/rest-api/webhooks"

SLACK_BODY = '{"token":"Jhj5dZrVaK7ZwHHjRyZWjbDl","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}'
TWITCH_BODY = '{"challenge":"pogchamp-kappa-360noscope-vohiyo","subscription":{"id":"f1c2a387-161a-49f9-a165-0f21d7a4e1c4","status":"webhook_callback_verification_pending","type":"user.update"}}'
ZOOM_BODY = '{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680,"event":"endpoint.url_validation"}'
LARK_BODY = '{"challenge":"ajls384kdjx98XX","token":"xxxxxx","type":"url_verification"}'
EVENTGRID_BODY = '[{"id":"2d1781af-3a4c-4d7c-bd0c-e34b19da4e66","topic":"/subscriptions/xxxxxxxx","subject":"","data":{"validationCode":"512d38b6-c7b8-40c8-89fe-f46f9e9622b6","validationUrl":"https://rp-eastus2.eventgrid.azure.net:553/eventsubscriptions/es/validate?id=512d38b6"},"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","eventTime":"2022-10-28T04:23:35.1981776Z","metadataVersion":"1","dataVersion":"1"}]'
# `integration_public_key|d9b8…` for this challenge is what Braintree's own libraries expect in their tests.
BRAINTREE_CHALLENGE = "20f9f8ed05f77439fe955c977e4c8a53"

CHECKS = [
    # GET, the value back as text.
    Check("facebook", META, "GET", "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock", answer="1158201444"),
    Check("whatsapp", WHATSAPP, "GET", "?hub.mode=subscribe&hub.verify_token=vibecoding&hub.challenge=1903260602", answer="1903260602"),
    Check("instagram", INSTAGRAM, "GET", "?hub.challenge=1158201444&hub.mode=subscribe&hub.verify_token=mytoken", answer="1158201444"),
    Check("websub", WEBSUB, "GET", "?hub.mode=subscribe&hub.topic=https%3A%2F%2Fexample.com%2Ffeed&hub.challenge=a-b_c.d~e&hub.lease_seconds=864000", answer="a-b_c.d~e"),
    Check("websub", WEBSUB, "GET", "?hub.mode=unsubscribe&hub.topic=https%3A%2F%2Fexample.com%2Ffeed&hub.challenge=xyz", answer="xyz"),
    Check("websub", WEBSUB, "GET", "?hub.mode=subscribe&hub.topic=https%3A%2F%2Fexample.com%2Fother&hub.challenge=xyz&hub.lease_seconds=1", status=404),
    Check("youtube", YOUTUBE, "GET", "?hub.topic=https://www.youtube.com/xml/feeds/videos.xml%3Fchannel_id%3DUC1&hub.challenge=11926263139&hub.mode=subscribe&hub.lease_seconds=432000", answer="11926263139"),
    Check("dropbox", DROPBOX, "GET", "?challenge=abc123", answer="abc123", shows={"x-content-type-options": "nosniff"}),
    Check("nylas", NYLAS, "GET", "?challenge=bc609b38-c81f-47fb-a275-1d9bd61a968b", answer="bc609b38-c81f-47fb-a275-1d9bd61a968b"),
    Check("onfleet", ONFLEET, "GET", "?check=2ca6d4c1f2", answer="2ca6d4c1f2"),
    Check("graph", GRAPH, "POST", "?validationToken=Validation%3A+Testing+client+application+reachability+for+subscription+Request-Id%3A+77", [("Content-Type", "text/plain; charset=utf-8")], answer="Validation: Testing client application reachability for subscription Request-Id: 77"),
    Check("worldline", WORLDLINE, "GET", headers=[("X-GCS-Webhooks-Endpoint-Verification", "c3b9a2")], answer="c3b9a2"),
    Check("mailchimp", MAILCHIMP, "GET"),
    Check("fitbit", FITBIT, "GET", "?verify=right", status=204),
    Check("fitbit", FITBIT, "GET", "?verify=wrong", status=404),
    Check("fastly", FASTLY, "GET", "/.well-known/fastly/logging/challenge", answer="*\n"),
    # GET, JSON.
    Check("strava", STRAVA, "GET", "?hub.verify_token=STRAVA&hub.challenge=15f7d1a91c1f40f8a748fd134752feb3&hub.mode=subscribe", kind=JSON, answer='{"hub.challenge":"15f7d1a91c1f40f8a748fd134752feb3"}'),
    Check("okta", OKTA, "GET", headers=[("x-okta-verification-challenge", "MzQ1YzQ0")], kind=JSON, answer='{"verification":"MzQ1YzQ0"}'),
    # GET, a MAC of the value.
    Check("x", X, "GET", "?crc_token=challenge_string", kind=JSON, answer='{"response_token":"sha256=%s"}' % base64.b64encode(mac("x-consumer-secret", "challenge_string").digest()).decode()),
    Check("linkedin", LINKEDIN, "GET", "?challengeCode=890e4665-4dfe-4ab1-b689-ed553bceeed0&applicationId=123", kind=JSON, answer='{"challengeCode":"890e4665-4dfe-4ab1-b689-ed553bceeed0","challengeResponse":"%s"}' % mac("linkedin-secret", "890e4665-4dfe-4ab1-b689-ed553bceeed0").hexdigest()),
    Check("braintree", BRAINTREE, "GET", f"?bt_challenge={BRAINTREE_CHALLENGE}", answer="integration_public_key|d9b899556c966b3f06945ec21311865d35df3ce4"),
    # POST, signed.
    Check("slack", SLACK, "POST", "", AS_JSON, SLACK_BODY, slack, answer="3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"),
    Check("twitch", TWITCH, "POST", "", AS_JSON, TWITCH_BODY, twitch, answer="pogchamp-kappa-360noscope-vohiyo"),
    Check("zoom", ZOOM, "POST", "", AS_JSON, ZOOM_BODY, zoom, kind=JSON, answer='{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"%s"}' % mac("zoom-secret", "qgg8vlvZRS6UYooatFL8Aw").hexdigest()),
    Check("discord", DISCORD, "POST", "", AS_JSON, '{"application_id":"1","id":"2","token":"t","type":1,"version":1}', "discord", kind=JSON, answer='{"type":1}'),
    Check("discord", DISCORD_EVENTS, "POST", "", AS_JSON, '{"version":1,"application_id":"1234560123453231555","type":0}', "discord", status=204),
    Check("eventgrid", EVENTGRID, "POST", "?token=eventgrid-token", [*AS_JSON, ("aeg-event-type", "SubscriptionValidation")], EVENTGRID_BODY, kind=JSON, answer='{"validationResponse":"512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}'),
    # POST, unsigned by the sender's own rules.
    Check("monday", MONDAY, "POST", "", AS_JSON, '{"challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}', kind=JSON, answer='{"challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}'),
    Check("lark", LARK, "POST", "", AS_JSON, LARK_BODY, kind=JSON, answer='{"challenge":"ajls384kdjx98XX"}'),
    Check("lark", LARK, "POST", "", AS_JSON, json.dumps({"encrypt": encrypted("lark-key", LARK_BODY)}), kind=JSON, answer='{"challenge":"ajls384kdjx98XX"}'),
    Check("smartcar", SMARTCAR, "POST", "", AS_JSON, '{"version":"2.0","webhookId":"w","eventName":"verify","payload":{"challenge":"3a5c8f72-e6d9-4b1a-9f2e-8c7d6a5b4e3f"}}', kind=JSON, answer='{"challenge":"%s"}' % mac("smartcar-token", "3a5c8f72-e6d9-4b1a-9f2e-8c7d6a5b4e3f").hexdigest()),
    Check("front", FRONT, "POST", "", [*AS_JSON, ("X-Front-Challenge", "challenge-9f2e")], '{"type":"sync","authorization":{"id":"cmp_abc"}}', front, answer="challenge-9f2e"),
    Check("smartcar", SMARTCAR, "POST", "", AS_JSON, '{"eventId":"52f6e0bb-1369-45da-a61c-9e67d092d6db","eventType":"VERIFY","data":{"challenge":"3a5c8f72-e6d9"},"meta":{"version":"4.0","webhookId":"w"}}', kind=JSON, answer='{"challenge":"%s"}' % mac("smartcar-token", "3a5c8f72-e6d9").hexdigest()),
    Check("ringcentral", RINGCENTRAL, "POST", headers=[("Validation-Token", "23e3-4d1a")], shows={"validation-token": "23e3-4d1a"}),
    Check("asana", ASANA, "POST", headers=[("X-Hook-Secret", "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81")], shows={"x-hook-secret": "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81"}),
    Check("notion", NOTION, "POST", "", AS_JSON, '{"verification_token":"secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"}'),
    Check("daily", DAILY, "POST", "", AS_JSON, '{"test":"test"}'),
    Check("woocommerce", WOOCOMMERCE, "POST", "", AS_FORM, "webhook_id=42"),
    # OPTIONS and HEAD.
    Check("cloudevents", CLOUDEVENTS, "OPTIONS", headers=[("WebHook-Request-Origin", "eventemitter.example.com"), ("WebHook-Request-Rate", "120")], shows={"webhook-allowed-origin": "eventemitter.example.com", "webhook-allowed-rate": "*", "allow": "POST"}),
    Check("eventgrid", EVENTGRID_CE, "OPTIONS", "?token=eventgrid-token", [("WebHook-Request-Origin", "eventgrid.azure.net"), ("WebHook-Request-Callback", "https://rp-eastus2.eventgrid.azure.net/validate?id=1")], shows={"webhook-allowed-origin": "eventgrid.azure.net", "webhook-allowed-rate": "*", "allow": "POST"}),
    Check("heygen", HEYGEN, "OPTIONS"),
    Check("trello", TRELLO, "HEAD"),
    Check("mandrill", MANDRILL, "HEAD"),
    Check("intercom", INTERCOM, "HEAD"),
]

# Whoever does not prove himself, or shows another token, gets nothing of the above; nor does what is no challenge.
REFUSED = [
    Check("facebook", META, "GET", "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=wrong", status=401),
    Check("facebook", META, "GET", "?hub.mode=subscribe&hub.challenge=1158201444", status=401),
    Check("whatsapp", META, "GET", "?hub.mode=subscribe&hub.challenge=1&hub.verify_token=meatyhamhock", status=401),
    Check("facebook", META, "GET", "?hub.mode=unsubscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock", status=401),
    Check("facebook", META, "GET", "?hub.mode=subscribe&hub.challenge=1&hub.verify_token=wrong&hub.verify_token=meatyhamhock", status=401),
    Check("strava", STRAVA, "GET", "?hub.verify_token=wrong&hub.challenge=15f7d1a91c1f40f8a748fd134752feb3&hub.mode=subscribe", status=401),
    Check("strava", STRAVA, "GET", "?hub.verify_token=STRAVA&hub.mode=subscribe", status=401),
    Check("dropbox", DROPBOX, "GET", status=401),
    Check("dropbox", DROPBOX, "POST", "?challenge=abc", status=401),
    Check("graph", GRAPH, "POST", "", AS_JSON, '{"value":[{"clientState":"wrong"}]}', status=401),
    Check("x", X, "GET", "?crc_token=%7B%22tweet_create_events%22%3A%5B%5D%7D", status=401),
    Check("x", X, "GET", "?crc_token=", status=401),
    Check("linkedin", LINKEDIN, "GET", "?challengeCode=hmacsha256%3D%7B%7D", status=401),
    Check("braintree", BRAINTREE, "GET", "?bt_challenge=PG5vdGlmaWNhdGlvbj4%3D", status=401),
    Check("braintree", BRAINTREE, "GET", "?bt_challenge=20f9f8", status=401),
    Check("slack", SLACK, "POST", "", AS_JSON, SLACK_BODY, status=401),
    Check("slack", SLACK, "POST", "", AS_JSON, SLACK_BODY, lambda body: slack(body, "another-secret"), status=401),
    Check("slack", SLACK, "POST", "", AS_JSON, SLACK_BODY, lambda body: slack(body + " "), status=401),
    Check("twitch", TWITCH, "POST", "", AS_JSON, TWITCH_BODY, lambda body: twitch(body, "another-secret"), status=401),
    Check("twitch", TWITCH, "POST", "", [("Twitch-Eventsub-Message-Type", "webhook_callback_verification")], TWITCH_BODY, status=401),
    Check("zoom", ZOOM, "POST", "", AS_JSON, ZOOM_BODY, status=401),
    Check("zoom", ZOOM, "POST", "", AS_JSON, ZOOM_BODY, lambda body: zoom(body, "another-secret"), status=401),
    Check("discord", DISCORD, "POST", "", AS_JSON, '{"type":1}', status=401),
    Check("discord", DISCORD, "POST", "", [*AS_JSON, ("X-Signature-Timestamp", "1700000000"), ("X-Signature-Ed25519", "00" * 64)], '{"type":1}', status=401),
    Check("eventgrid", EVENTGRID, "POST", "?token=wrong", AS_JSON, EVENTGRID_BODY, status=401),
    Check("eventgrid", EVENTGRID_CE, "OPTIONS", "", [("WebHook-Request-Origin", "eventgrid.azure.net")], status=401),
    Check("cloudevents", CLOUDEVENTS, "OPTIONS", status=401),
    Check("cloudevents", CLOUDEVENTS, "POST", "", [*AS_JSON, ("WebHook-Request-Origin", "eventemitter.example.com")], "{}", status=401),
    Check("okta", OKTA, "GET", status=401),
    Check("okta", OKTA, "POST", "", [*AS_JSON, ("x-okta-verification-challenge", "MzQ1YzQ0")], "{}", status=401),
    Check("lark", LARK, "POST", "", AS_JSON, json.dumps({"encrypt": encrypted("another-key", LARK_BODY)}), status=401),
    Check("lark", LARK, "POST", "", AS_JSON, '{"schema":"2.0","header":{"event_type":"im.message.receive_v1"},"challenge":"c"}', status=401),
    Check("monday", MONDAY, "POST", "", AS_JSON, '{"challenge":"c","event":{"type":"create_pulse"}}', status=401),
    Check("smartcar", SMARTCAR, "POST", "", AS_JSON, '{"eventName":"verify","payload":{"challenge":"{\\"eventName\\":\\"schedule\\"}"}}', status=401),
    Check("front", FRONT, "POST", "", [*AS_JSON, ("X-Front-Challenge", "challenge-9f2e")], '{"type":"sync"}', status=401),
    Check("front", FRONT, "POST", "", [*AS_JSON, ("X-Front-Challenge", "challenge-9f2e")], '{"type":"sync"}', lambda body: front(body, "another-secret"), status=401),
    Check("worldline", WORLDLINE, "POST", "", [*AS_JSON, ("X-GCS-Webhooks-Endpoint-Verification", "c3b9a2")], "{}", status=401),
    Check("woocommerce", WOOCOMMERCE, "POST", "", AS_FORM, "webhook_id=42&x=1", lambda _: [("X-WC-Webhook-Signature", "AAAA")], status=401),
    Check("daily", DAILY, "POST", "", AS_JSON, '{"test":"tset"}', status=401),
    Check("asana", ASANA, "POST", headers=[("X-Hook-Secret", "s"), ("X-Hook-Signature", "00" * 32)], status=401),
    Check("fastly", FASTLY, "POST", "/.well-known/fastly/logging/challenge", [*AS_JSON, ("Authorization", "Bearer fastly-token")], "[]", status=404),
    Check("fastly", FASTLY, "GET", status=401),
    Check("trello", TRELLO, "GET", status=405),
    Check("heygen", HEYGEN, "GET", status=405),
]

SOURCES = """
[sources.facebook]
provider = "meta"
secrets = ["literal:meta-secret"]
options = {{ verify_token = "meatyhamhock" }}
[sources.whatsapp]
provider = "meta"
secrets = ["literal:meta-secret"]
options = {{ verify_token = "vibecoding" }}
[sources.instagram]
provider = "meta"
secrets = ["literal:meta-secret"]
options = {{ verify_token = "mytoken" }}
[sources.websub]
provider = "websub"
secrets = ["literal:websub-secret"]
options = {{ topic = "https://example.com/feed" }}
[sources.youtube]
provider = "websub"
secrets = ["literal:websub-secret"]
options = {{ topic = "https://www.youtube.com/xml/feeds/videos.xml?channel_id=UC1" }}
[sources.strava]
provider = "strava"
secrets = ["literal:120475"]
options = {{ verify_token = "STRAVA" }}
[sources.fitbit]
provider = "fitbit"
secrets = ["literal:fitbit-secret"]
options = {{ verify_code = "right" }}
[sources.braintree]
provider = "braintree"
secrets = ["literal:integration_private_key"]
options = {{ public_key = "integration_public_key" }}
[sources.discord]
provider = "discord"
public_keys = ["literal:{discord}"]
[sources.asana]
provider = "asana"
[sources.notion]
provider = "notion"
[sources.trello]
provider = "trello"
secrets = ["literal:trello-secret"]
public_url = "https://hooks.example.com/webhooks/trello"
[sources.mandrill]
provider = "mandrill"
secrets = ["literal:mandrill-key"]
public_url = "https://hooks.example.com/webhooks/mandrill"
[sources.onfleet]
provider = "onfleet"
secrets = ["literal:00ff"]
[sources.daily]
provider = "daily"
secrets = ["literal:ZGFpbHk="]
"""

# Source and provider are one word, and the secret is text.
PLAIN = {
    "dropbox": "dropbox-secret",
    "nylas": "nylas-secret",
    "microsoft-graph": "graph-state",
    "worldline": "worldline-secret",
    "mailchimp": "mailchimp-token",
    "fastly": "fastly-token",
    "okta": "okta-token",
    "x": "x-consumer-secret",
    "linkedin": "linkedin-secret",
    "slack": "slack-secret",
    "twitch": "twitch-secret",
    "zoom": "zoom-secret",
    "azure-event-grid": "eventgrid-token",
    "cloudevents": "cloudevents-token",
    "monday": "monday-secret",
    "lark": "lark-key",
    "smartcar": "smartcar-token",
    "front": "front-secret",
    "ringcentral": "ringcentral-token",
    "woocommerce": "woocommerce-secret",
    "heygen": "heygen-secret",
    "intercom": "intercom-secret",
    "xero": "xero-key",
    "dropbox-sign": "dropbox-sign-key",
}
NAMES = {"microsoft-graph": "graph", "azure-event-grid": "eventgrid"}


@pytest.fixture(scope="module")
def discord(tmp_path_factory):
    return Discord(tmp_path_factory.mktemp("discord"))


@pytest.fixture(scope="module")
def bridge(tmp_path_factory, discord):
    config = SOURCES.format(discord=discord.public)
    for provider, secret in PLAIN.items():
        name = NAMES.get(provider, provider)
        config += f'[sources.{name}]\nprovider = "{provider}"\nsecrets = ["literal:{secret}"]\n'
    bridge = Bridge(tmp_path_factory.mktemp("handshakes"), config).start()
    yield bridge
    bridge.close()


def request(check, discord):
    proof = discord if check.proof == "discord" else check.proof
    headers = [*check.headers, *(proof(check.body) if proof else [])]
    target = check.target if check.target.startswith("/") else f"/webhooks/{check.source}{check.target}"
    return Request(check.method, target, headers, check.body.encode(), f"https://hooks.example.com{target}")


def ask(bridge, check, discord):
    asked = request(check, discord)
    return bridge.request(asked.method, asked.target, asked.headers, asked.body)


def handshakes(bridge):
    return bridge.metric("hookferry_requests_total", outcome="handshake")


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_a_check_is_answered_as_its_sender_demands(bridge, discord, check):
    before = handshakes(bridge)
    reply = ask(bridge, check, discord)
    assert (reply.status, reply.headers.get("content-type"), reply.body.decode()) == (check.status, check.kind, check.answer)
    assert reply.headers.get("content-length", "0") == str(len(check.answer))
    for name, value in check.shows.items():
        assert reply.headers.get(name) == value, name
    assert handshakes(bridge) == before + 1
    assert bridge.events() == [], "a check was ferried"


# Vendors whose libraries answer a check themselves, and the secret that they are given.
LIBRARIES = {
    "zoom": "zoom-secret",
    "smartcar": "smartcar-token",
    "lark": "lark-key",
    "braintree": "integration_private_key",
    "discord": None,
}


@pytest.mark.parametrize("check", [check for check in CHECKS if check.source in LIBRARIES], ids=str)
def test_a_check_is_answered_as_the_vendors_own_library_does(bridge, discord, oracles, check):
    asked = request(check, discord)
    wanted = oracles.answer(check.source, LIBRARIES[check.source] or discord.public, asked)
    assert "body" in wanted, "the library took it for no check"
    reply = bridge.request(asked.method, asked.target, asked.headers, asked.body)
    given = {"status": reply.status, "kind": reply.headers.get("content-type"), "body": reply.body.decode()}
    for answer in (given, wanted) if given["kind"] == JSON else ():
        # Libraries order the members as they like; the order of the sender's page is held above.
        answer["body"] = json.loads(answer["body"])
    assert given == {**given, **wanted}


@pytest.mark.parametrize("check", REFUSED, ids=str)
def test_whoever_proves_nothing_is_answered_nothing(bridge, discord, check):
    before = handshakes(bridge)
    reply = ask(bridge, check, discord)
    assert reply.status == check.status, reply
    for of in (other for other in CHECKS if other.source == check.source and other.answer):
        assert of.answer not in reply.body.decode(), "the answer was given away"
    assert handshakes(bridge) == before
    assert bridge.events() == []


def test_the_answers_of_those_that_judge_a_receiver_by_its_events(bridges):
    """Xero sends good and bad signatures and demands 200 without a body, and 401; Dropbox Sign wants one sentence back."""
    config = "".join(f'[sources.{name}]\nprovider = "{name}"\nsecrets = ["literal:{PLAIN[name]}"]\n' for name in ("xero", "dropbox-sign"))
    bridge = bridges(config).start()
    # https://developer.xero.com/documentation/guides/webhooks/configuring-your-server/#intent-to-receive
    body = '{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S0m3r4Nd0mt3xt"}'
    for secret, status in [("xero-key", 200), ("wrong-key", 401), ("xero-key", 200)]:
        signature = base64.b64encode(mac(secret, body).digest()).decode()
        reply = bridge.post("/webhooks/xero", [*AS_JSON, ("x-xero-signature", signature)], body.encode())
        assert reply.status == status
        assert status != 200 or reply.body == b"", reply
    # https://developers.hellosign.com/docs/events/walkthrough/
    event = {"event_type": "callback_test", "event_time": "1700000000"}
    event["event_hash"] = mac("dropbox-sign-key", event["event_time"] + event["event_type"]).hexdigest()
    part = json.dumps({"event": event})
    boundary = "------------------------d74496d66958873e"
    form = f'--{boundary}\r\nContent-Disposition: form-data; name="json"\r\n\r\n{part}\r\n--{boundary}--\r\n'
    reply = bridge.post("/webhooks/dropbox-sign", [("Content-Type", f"multipart/form-data; boundary={boundary}")], form.encode())
    assert (reply.status, reply.body) == (200, b"Hello API Event Received"), reply


def test_a_check_at_a_path_of_its_own_is_answered_for_the_source_alone_that_has_one(bridges):
    bridge = bridges('[sources.slack]\nprovider = "slack"\nsecrets = ["literal:s"]\n').start()
    assert bridge.request("GET", "/.well-known/fastly/logging/challenge").problem == "unknown_source"
    logs = '[sources.one]\nprovider = "fastly"\nsecrets = ["literal:a"]\n[sources.two]\nprovider = "fastly"\nsecrets = ["literal:b"]\n'
    bridge.configure(logs)
    bridge.signal(1)
    until(lambda: bridge.request("GET", "/.well-known/fastly/logging/challenge").body == b"*\n", what="the reload")
    for name, token in [("one", "a"), ("two", "b")]:
        reply = bridge.post(f"/webhooks/{name}", [*AS_JSON, ("Authorization", f"Bearer {token}")], b'[{"status":200}]')
        assert reply.status == 200, reply
