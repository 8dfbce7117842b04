"""The secrets of the suites. None of them may appear in anything that the bridge prints."""

# Standard Webhooks secrets are base64 after the prefix; the words are canaries all the same.
ENV = {
    "GITHUB_SECRET": "canary-github-0f3a9c",
    "GITHUB_OLD_SECRET": "canary-github-old-77b1d2",
    "STRIPE_SECRET": "whsec_canaryStripe5e8f1a",
    "SLACK_SECRET": "canary-slack-c41d77",
    "SHOPIFY_SECRET": "canary-shopify-9b02ee",
    "GITLAB_SECRET": "whsec_Y2FuYXJ5LWdpdGxhYi0yNC1ieXRlcy1sb25n",
    "OPENAI_SECRET": "whsec_Y2FuYXJ5LW9wZW5haS0yNC1ieXRlcy1sb25n",
    "STANDARD_SECRET": "whsec_Y2FuYXJ5LXN0YW5kYXJkLXdlYmhvb2tzLTI0",
    "ACME_SECRET": "canary-acme-6d5c3b",
    "ADMIN_TOKEN": "canary-admin-token-a81f",
}
