// Signs webhooks with the vendors' own SDKs: one JSON request a line on stdin, one JSON answer a line on stdout.
//
//   {"id":1,"op":"sign","provider":"stripe","secret":"whsec_…","body":"<base64>","timestamp":1700000000,"message":"msg_1"}
//   {"id":1,"headers":{"Stripe-Signature":"t=…,v1=…"}}        or {"id":1,"error":"…"}
//   {"id":2,"op":"examples"}
//   {"id":2,"examples":[{"event":"push","body":"<base64>"}, …]}
//
// A fresh signature is handed out only after the vendor's own verifier has accepted it.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { sign as signGithub, verify as verifyGithub } from "@octokit/webhooks-methods";
import "@shopify/shopify-api/adapters/node";
import { ApiVersion, LogSeverity, shopifyApi } from "@shopify/shopify-api";
import { createSHA256HMAC } from "@shopify/shopify-api/runtime";
import OpenAI from "openai";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";

const stripe = new Stripe("sk_test_unused");
const openai = new OpenAI({ apiKey: "unused" });
const require = createRequire(import.meta.url);

function standard({ secret, text, timestamp, message, fresh }) {
  const webhook = new Webhook(secret);
  const headers = {
    "webhook-id": message,
    "webhook-timestamp": String(timestamp),
    "webhook-signature": webhook.sign(message, new Date(timestamp * 1000), text),
  };
  if (fresh) webhook.verify(text, headers, { jsonParse: false });
  return headers;
}

const providers = {
  async github({ secret, text }) {
    const signature = await signGithub(secret, text);
    if (!(await verifyGithub(secret, text, signature))) throw new Error("octokit refuses its own signature");
    return { "X-Hub-Signature-256": signature };
  },

  async stripe({ secret, text, timestamp, fresh }) {
    const header = stripe.webhooks.generateTestHeaderString({ payload: text, secret, timestamp });
    if (fresh) stripe.webhooks.signature.verifyHeader(text, header, secret, 300);
    return { "Stripe-Signature": header };
  },

  async shopify({ secret, text, message, headers }) {
    const signed = {
      "X-Shopify-Hmac-Sha256": await createSHA256HMAC(secret, text),
      "X-Shopify-Topic": headers["X-Shopify-Topic"] ?? "orders/create",
      "X-Shopify-Shop-Domain": headers["X-Shopify-Shop-Domain"] ?? "shop.example.com",
      "X-Shopify-API-Version": "2026-10",
      "X-Shopify-Webhook-Id": message,
    };
    const shopify = shopifyApi({
      apiKey: "unused",
      apiSecretKey: secret,
      apiVersion: ApiVersion.January26 ?? Object.values(ApiVersion)[0],
      hostName: "app.example.com",
      isEmbeddedApp: false,
      isTesting: true,
      logger: { level: LogSeverity.Error },
    });
    const rawRequest = { method: "POST", url: "/webhooks/shopify", headers: signed };
    const verdict = await shopify.webhooks.validate({ rawBody: text, rawRequest, rawResponse: {} });
    // An empty body is refused by validate before it looks at the signature.
    if (!verdict.valid && verdict.reason !== "missing_body") {
      throw new Error(`shopify-api refuses its own signature: ${verdict.reason}`);
    }
    return signed;
  },

  async openai(request) {
    const headers = standard(request);
    if (request.fresh) await openai.webhooks.verifySignature(request.text, headers, request.secret, 300);
    return headers;
  },

  // GitLab documents Standard Webhooks and ships no verifier; the reference library signs for it.
  async gitlab(request) {
    return standard(request);
  },

  async "standard-webhooks"(request) {
    return standard(request);
  },
};

function examples() {
  const root = dirname(require.resolve("@octokit/webhooks-examples/package.json"));
  const bodies = [];
  for (const flavour of ["api.github.com", "ghes-31", "ghes-32", "ghes-33", "ghes-34", "ghes-35"]) {
    for (const event of JSON.parse(readFileSync(join(root, flavour, "index.json"), "utf8"))) {
      for (const example of event.examples) {
        bodies.push({ event: event.name, body: Buffer.from(JSON.stringify(example)).toString("base64") });
      }
    }
  }
  return bodies;
}

async function answer(request) {
  if (request.op === "examples") return { examples: examples() };
  const raw = Buffer.from(request.body, "base64");
  const text = raw.toString("utf8");
  // The SDKs sign text; a body that does not survive that would get a signature over something else.
  if (!Buffer.from(text, "utf8").equals(raw)) throw new Error("the SDKs sign UTF-8 text only");
  const now = Math.floor(Date.now() / 1000);
  const timestamp = request.timestamp ?? now;
  const headers = await providers[request.provider]({
    secret: request.secret,
    text,
    timestamp,
    message: request.message,
    headers: request.headers ?? {},
    fresh: Math.abs(now - timestamp) < 290,
  });
  return { headers };
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let reply;
  try {
    reply = await answer(request);
  } catch (error) {
    reply = { error: String(error?.stack ?? error) };
  }
  process.stdout.write(JSON.stringify({ id: request.id, ...reply }) + "\n");
}
