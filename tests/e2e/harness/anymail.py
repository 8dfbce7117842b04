"""django-anymail as a judge: the checks of its views, for senders of e-mail that have no library of their own."""

import django
from anymail.webhooks import mailersend, mailgun, mailjet, mandrill, postmark, sparkpost, unisender_go
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.test import RequestFactory

settings.configure(ALLOWED_HOSTS=["*"], ANYMAIL={})
django.setup()

# The view of a provider, as it is made for one secret and one URL.
_VIEWS = {
    "mailersend": lambda secret, _: mailersend.MailerSendTrackingWebhookView(signing_secret=secret),
    "mailgun": lambda secret, _: mailgun.MailgunTrackingWebhookView(webhook_signing_key=secret),
    "mailjet": lambda secret, _: mailjet.MailjetTrackingWebhookView(webhook_secret=secret),
    "mandrill": lambda secret, url: mandrill.MandrillCombinedWebhookView(webhook_key=secret, webhook_url=url),
    "postmark": lambda secret, _: postmark.PostmarkTrackingWebhookView(webhook_secret=secret),
    "sparkpost": lambda secret, _: sparkpost.SparkPostTrackingWebhookView(webhook_secret=secret),
    "unisender-go": lambda secret, _: unisender_go.UnisenderGoTrackingWebhookView(api_key=secret),
}

VENDORS = {name: {"sdk": "django-anymail", "signs": False, "lenient": [], "compact": False} for name in _VIEWS}


def judge(provider, secret, request):
    """Whether the view of `provider` lets a request in, and why not."""
    headers = dict(request.headers)
    kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    seen = RequestFactory().generic(request.method, request.target, request.body, kind, headers=headers)
    try:
        _VIEWS[provider](secret, request.url).run_validators(seen)
    except SuspiciousOperation as refusal:
        return False, str(refusal)
    return True, ""
