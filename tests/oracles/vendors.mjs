// The vendors' own libraries, one entry a provider of the catalogue: what each can prove of a request.
//
// - `verify(request)`: the library's verdict; it throws or answers `false` for a request that it refuses.
// - `sign(request)`: headers (and body) as the library's own signer makes them, where it has one; `key` marks
//   providers that sign with a private key, for which the library has a verifier only.
// - `answer(request)`: what the library's own receiver answers to a check of the URL: `status`, `kind` (content type) and
//   `body`, as far as it has a say in each.
// - `lenient`: faults that the library does not notice, as its documentation or source has it.
// - `compact`: the library writes the JSON anew before it checks, so it only knows bodies as JSON.stringify writes them.
//
// A request: `headers` (lower-case names), `text` and `raw` (body), `secret`, `url` (as the sender was given it),
// `method`, `query`, `now` (Unix seconds), `message` (event id).
//
// Libraries are loaded when they are first asked for.

import { createHash, createPublicKey, generateKeyPairSync, sign as signWith } from "node:crypto";
import { EventEmitter } from "node:events";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const require = createRequire(import.meta.url);
const sha256 = (data, encoding) => createHash("sha256").update(data).digest(encoding);
const client = async (name, options = {}) => new (await import(name)).default({ apiKey: "unused", ...options });

// Signed by the reference library, which the vendor documents and delivers by.
const standard = {
  sdk: "standardwebhooks",
  lenient: [],
  async sign({ secret, message, now, text }) {
    const { Webhook } = await import("standardwebhooks");
    return {
      "webhook-id": message,
      "webhook-timestamp": String(now),
      "webhook-signature": new Webhook(secret).sign(message, new Date(now * 1000), text),
    };
  },
  async verify({ secret, text, headers }) {
    const { Webhook } = await import("standardwebhooks");
    new Webhook(secret).verify(text, headers, { jsonParse: false });
    return true;
  },
};

const svix = {
  sdk: "svix",
  async sign({ secret, message, now, text }) {
    const { Webhook } = await import("svix");
    return {
      "svix-id": message,
      "svix-timestamp": String(now),
      "svix-signature": new Webhook(secret).sign(message, new Date(now * 1000), text),
    };
  },
  async verify({ secret, text, headers }) {
    const { Webhook } = await import("svix");
    new Webhook(secret).verify(text, headers);
    return true;
  },
};

// The vendor's library verifies; requests in its form are also signed by the reference library.
const standardBy = (sdk, verify, more = {}) => ({ ...standard, ...more, sdk, verify });
const svixBy = (sdk, verify) => ({ ...svix, sdk, verify });

// Keys of this run, for vendors that sign with a private key.
const ed25519 = generateKeyPairSync("ed25519");
const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const rawEd25519 = ed25519.publicKey.export({ format: "der", type: "spki" }).subarray(-32);
const p521 = generateKeyPairSync("ec", { namedCurve: "P-521" });
const pem = (pair) => pair.publicKey.export({ format: "pem", type: "spki" });

const base64url = (value) => Buffer.from(value).toString("base64url");
function jwt(algorithm, claims, key, kid) {
  const head = base64url(JSON.stringify({ alg: algorithm, typ: "JWT", kid }));
  const signed = `${head}.${base64url(JSON.stringify(claims))}`;
  return `${signed}.${base64url(signWith("sha256", Buffer.from(signed), key))}`;
}

async function quiet(run) {
  // Some libraries print every request.
  const kept = { debug: console.debug, log: console.log, info: console.info, warn: console.warn, error: console.error };
  for (const name of Object.keys(kept)) console[name] = () => {};
  try {
    return await run();
  } finally {
    Object.assign(console, kept);
  }
}

export const vendors = {
  // Standard Webhooks and Svix

  "standard-webhooks": standard,
  gitlab: standard,
  gemini: standard,
  "recall-ai": standard,
  render: standard,
  supabase: {
    ...standard,
    sign: (request) => standard.sign({ ...request, secret: request.secret.replace("v1,whsec_", "") }),
    verify: (request) => standard.verify({ ...request, secret: request.secret.replace("v1,whsec_", "") }),
  },
  "incident-io": standard,
  loops: standard,
  svix,
  brex: svix,
  openai: standardBy("openai", async ({ text, headers, secret }) => {
    const openai = await client("openai");
    await openai.webhooks.verifySignature(text, headers, secret, 300);
    return true;
  }),
  anthropic: standardBy("@anthropic-ai/sdk", async ({ text, headers, secret }) => {
    const anthropic = await client("@anthropic-ai/sdk");
    return Boolean(anthropic.beta.webhooks.unwrap(text, { headers, key: secret }));
  }),
  replicate: standardBy(
    "replicate",
    async ({ text, headers, secret }) => {
      const { validateWebhook } = require("replicate");
      return validateWebhook({
        id: headers["webhook-id"],
        timestamp: headers["webhook-timestamp"],
        signature: headers["webhook-signature"],
        body: text,
        secret,
      });
    },
    { lenient: ["stale"] },
  ),
  resend: svixBy("resend", async ({ text, headers, secret }) => {
    const { Resend } = await import("resend");
    const [id, timestamp, signature] = ["svix-id", "svix-timestamp", "svix-signature"].map((name) => headers[name]);
    return Boolean(
      new Resend("re_unused").webhooks.verify({
        payload: text,
        headers: { id, timestamp, signature },
        webhookSecret: secret,
      }),
    );
  }),
  clerk: svixBy("@clerk/backend", async ({ text, headers, secret, url }) => {
    const { verifyWebhook } = await import("@clerk/backend/webhooks");
    const request = new Request(url, { method: "POST", headers, body: text });
    return Boolean(await quiet(() => verifyWebhook(request, { signingSecret: secret })));
  }),
  creem: standardBy("creem", async ({ text, headers, secret }) => {
    const { verifyWebhookSignature } = await import("creem/webhooks.js");
    await verifyWebhookSignature(text, headers, secret);
    return true;
  }),
  polar: {
    sdk: "@polar-sh/sdk",
    async verify({ text, headers, secret }) {
      const { validateEvent, WebhookVerificationError } = await import("@polar-sh/sdk/webhooks");
      try {
        validateEvent(text, headers, secret);
      } catch (error) {
        // After the signature it reads the event, and knows its own types only.
        if (error instanceof WebhookVerificationError && !/parse|Unknown event/i.test(error.message)) throw error;
        if (/Missing required headers/.test(error.message)) throw error;
      }
      return true;
    },
  },
  dodopayments: standardBy("dodopayments", async ({ text, headers, secret }) => {
    const dodo = await client("dodopayments", { bearerToken: "unused" });
    return Boolean(dodo.webhooks.unwrap(text, { headers, key: secret }));
  }),
  whop: standardBy("@whop/sdk", async ({ text, headers, secret }) => {
    const whop = await client("@whop/sdk");
    return Boolean(whop.webhooks.unwrap(text, { headers, key: secret }));
  }),
  lithic: standardBy("lithic", async ({ text, headers, secret }) => {
    (await client("lithic")).webhooks.verifySignature(text, headers, secret);
    return true;
  }),
  liveblocks: standardBy("@liveblocks/node", async ({ text, headers, secret }) => {
    const { WebhookHandler } = await import("@liveblocks/node");
    try {
      new WebhookHandler(secret).verifyRequest({ headers, rawBody: text });
    } catch (error) {
      // After the signature it asks for an event type that this version of the library knows.
      if (!/Unknown event type/.test(error.message)) throw error;
    }
    return true;
  }),
  imagekit: {
    sdk: "@imagekit/nodejs",
    async verify({ text, headers, secret }) {
      const imagekit = await client("@imagekit/nodejs", { privateKey: "unused" });
      return Boolean(imagekit.webhooks.unwrap(text, { headers, key: secret }));
    },
  },

  // A list of keys and values in one header

  stripe: {
    sdk: "stripe",
    async sign({ text, secret, now }) {
      const stripe = new (await import("stripe")).default("sk_test_unused");
      const header = stripe.webhooks.generateTestHeaderString({ payload: text, secret, timestamp: now });
      return { "Stripe-Signature": header };
    },
    async verify({ raw, headers, secret }) {
      const stripe = new (await import("stripe")).default("sk_test_unused");
      return stripe.webhooks.signature.verifyHeader(raw, headers["stripe-signature"], secret, 300);
    },
  },
  mux: {
    sdk: "@mux/mux-node",
    async verify({ text, headers, secret }) {
      const mux = new (await import("@mux/mux-node")).default({ tokenId: "unused", tokenSecret: "unused" });
      await mux.webhooks.verifySignature(text, headers, secret);
      return true;
    },
  },
  workos: {
    sdk: "@workos-inc/node",
    compact: true,
    lenient: ["tampered"],
    async verify({ text, headers, secret }) {
      const { WorkOS } = await import("@workos-inc/node");
      return new WorkOS("sk_unused").webhooks.verifyHeader({
        payload: JSON.parse(text),
        sigHeader: headers["workos-signature"],
        secret,
      });
    },
  },
  "paddle-billing": {
    sdk: "@paddle/paddle-node-sdk",
    async verify({ text, headers, secret }) {
      const { Paddle } = await import("@paddle/paddle-node-sdk");
      const header = headers["paddle-signature"];
      return header !== undefined && (await new Paddle("unused").webhooks.isSignatureValid(text, secret, header));
    },
  },
  sanity: {
    sdk: "@sanity/webhook",
    async verify({ text, headers, secret }) {
      const { assertValidSignature } = await import("@sanity/webhook");
      await assertValidSignature(text, headers["sanity-webhook-signature"] ?? "", secret);
      return true;
    },
  },
  retell: {
    sdk: "retell-sdk",
    async sign({ text, secret, now }) {
      const { symmetric } = require("retell-sdk/lib/webhook_auth");
      return { "x-retell-signature": await symmetric.sign(text, secret, now * 1000) };
    },
    async verify({ text, headers, secret }) {
      const { Retell } = await import("retell-sdk");
      return Retell.verify(text, secret, headers["x-retell-signature"] ?? "");
    },
  },
  hook0: {
    sdk: "hook0-client",
    async verify({ raw, headers, secret }) {
      const { verifyWebhookSignature } = require("hook0-client");
      return verifyWebhookSignature(headers["x-hook0-signature"] ?? "", raw, new Headers(headers), secret, 300) === true;
    },
  },
  mercadopago: {
    sdk: "mercadopago",
    async verify({ headers, query, secret }) {
      const { WebhookSignatureValidator } = await import("mercadopago");
      WebhookSignatureValidator.validate({
        xSignature: headers["x-signature"],
        xRequestId: headers["x-request-id"],
        dataId: query.get("data.id"),
        secret,
      });
      return true;
    },
  },

  // The time in a header of its own, or in the body

  zoom: {
    sdk: "@zoom/rivet",
    compact: true,
    lenient: ["stale", "tampered"],
    async verify({ text, headers, secret, method }) {
      const { AwsLambdaReceiver } = await import("@zoom/rivet/users");
      const receiver = new AwsLambdaReceiver({ webhooksSecretToken: secret });
      receiver.init({ eventEmitter: { emit: async () => {} } });
      const event = { body: text, headers, httpMethod: method, isBase64Encoded: false };
      return (await quiet(() => receiver.start()(event, {}))).statusCode === 200;
    },
    async answer({ text, headers, secret, method }) {
      const { AwsLambdaReceiver } = await import("@zoom/rivet/users");
      const receiver = new AwsLambdaReceiver({ webhooksSecretToken: secret });
      receiver.init({ eventEmitter: { emit: async () => {} } });
      const event = { body: text, headers, httpMethod: method, isBase64Encoded: false };
      const { statusCode, headers: shown, body } = await quiet(() => receiver.start()(event, {}));
      return { status: statusCode, kind: shown["Content-Type"], body };
    },
  },
  linear: {
    sdk: "@linear/sdk",
    async verify({ raw, text, headers, secret }) {
      const { LinearWebhookClient } = await import("@linear/sdk/webhooks");
      const timestamp = JSON.parse(text).webhookTimestamp;
      return new LinearWebhookClient(secret).verify(raw, headers["linear-signature"] ?? "", timestamp);
    },
  },
  lovable: {
    sdk: "@lovable.dev/webhooks-js",
    async verify({ text, headers, secret, url }) {
      const { verifyWebhookRequest } = await import("@lovable.dev/webhooks-js");
      await verifyWebhookRequest({ req: new Request(url, { method: "POST", headers, body: text }), secret });
      return true;
    },
  },
  webflow: {
    sdk: "webflow-api",
    lenient: ["stale"],
    async verify({ text, headers, secret }) {
      const { WebflowClient } = await import("webflow-api");
      return new WebflowClient({ accessToken: "unused" }).webhooks.verifySignature({ headers, body: text, secret });
    },
  },
  hubspot: {
    sdk: "@hubspot/api-client",
    async verify({ text, headers, secret, url, method }) {
      const { Signature } = require("@hubspot/api-client");
      const signature = headers["x-hubspot-signature-v3"] ?? "";
      const timestamp = Number(headers["x-hubspot-request-timestamp"]);
      return Signature.isValid({
        signature,
        clientSecret: secret,
        requestBody: text,
        signatureVersion: "v3",
        url,
        method,
        timestamp,
      });
    },
    lenient: ["stale"],
  },
  sinch: {
    sdk: "@sinch/sdk-client",
    lenient: ["stale"],
    async verify({ text, headers, secret }) {
      // The whole library asks for a peer that is not needed here.
      const { validateWebhookSignature } = require(join(dirname(require.resolve("@sinch/sdk-client")), "utils/authorization.helper.js"));
      return validateWebhookSignature(secret, headers, text);
    },
  },
  box: {
    sdk: "box-node-sdk",
    async verify({ text, headers, secret }) {
      const BoxSDK = require("box-node-sdk");
      return BoxSDK.validateWebhookMessage(text, headers, secret);
    },
  },
  cloudinary: {
    sdk: "cloudinary",
    async verify({ text, headers, secret }) {
      const { v2 } = require("cloudinary");
      v2.config({ api_secret: secret });
      const timestamp = Number(headers["x-cld-timestamp"]);
      return v2.utils.verifyNotificationSignature(text, timestamp, headers["x-cld-signature"] ?? "");
    },
  },

  // The body alone

  github: {
    sdk: "@octokit/webhooks-methods",
    async sign({ text, secret }) {
      return { "X-Hub-Signature-256": await (await import("@octokit/webhooks-methods")).sign(secret, text) };
    },
    async verify({ text, headers, secret }) {
      const { verify } = await import("@octokit/webhooks-methods");
      return verify(secret, text, headers["x-hub-signature-256"] ?? "");
    },
  },
  shopify: {
    sdk: "@shopify/shopify-api",
    async sign({ text, secret, message, headers }) {
      await import("@shopify/shopify-api/adapters/node");
      const { createSHA256HMAC } = await import("@shopify/shopify-api/runtime");
      return {
        "X-Shopify-Hmac-Sha256": await createSHA256HMAC(secret, text),
        "X-Shopify-Topic": headers["x-shopify-topic"] ?? "orders/create",
        "X-Shopify-Shop-Domain": "shop.example.com",
        "X-Shopify-API-Version": "2026-10",
        "X-Shopify-Webhook-Id": message,
      };
    },
    async verify({ text, headers, secret }) {
      await import("@shopify/shopify-api/adapters/node");
      const { ApiVersion, LogSeverity, shopifyApi } = await import("@shopify/shopify-api");
      const shopify = shopifyApi({
        apiKey: "unused",
        apiSecretKey: secret,
        apiVersion: Object.values(ApiVersion)[0],
        hostName: "app.example.com",
        isEmbeddedApp: false,
        isTesting: true,
        logger: { level: LogSeverity.Error },
      });
      const rawRequest = { method: "POST", url: "/", headers: { "x-shopify-api-version": "2026-10", ...headers } };
      const verdict = await shopify.webhooks.validate({ rawBody: text, rawRequest, rawResponse: {} });
      // An empty body is refused before the signature is looked at.
      if (!verdict.valid && verdict.reason !== "missing_body") throw new Error(verdict.reason);
      return true;
    },
  },
  line: {
    sdk: "@line/bot-sdk",
    async verify({ raw, headers, secret }) {
      const { validateSignature } = await import("@line/bot-sdk");
      return validateSignature(raw, secret, headers["x-line-signature"] ?? "");
    },
  },
  razorpay: {
    sdk: "razorpay",
    async verify({ text, headers, secret }) {
      return require("razorpay").validateWebhookSignature(text, headers["x-razorpay-signature"] ?? "", secret);
    },
  },
  "coinbase-commerce": {
    sdk: "coinbase-commerce-node",
    async verify({ text, headers, secret }) {
      const { Webhook } = require("coinbase-commerce-node");
      return Webhook.verifySigHeader(text, headers["x-cc-webhook-signature"] ?? "", secret);
    },
  },
  gocardless: {
    sdk: "gocardless-nodejs",
    async verify({ text, headers, secret }) {
      const { verifySignature } = require("gocardless-nodejs/webhooks");
      verifySignature(text, secret, headers["webhook-signature"] ?? "");
      return true;
    },
  },
  pusher: {
    sdk: "pusher",
    async verify({ text, headers, secret }) {
      const Pusher = require("pusher");
      const key = headers["x-pusher-key"];
      return new Pusher({ appId: "1", key, secret, cluster: "eu" }).webhook({ headers, rawBody: text }).isValid();
    },
  },
  notion: {
    sdk: "@notionhq/client",
    async sign({ text, secret }) {
      const { signWebhookPayload } = await import("@notionhq/client");
      return { "x-notion-signature": await signWebhookPayload({ body: text, verificationToken: secret }) };
    },
    async verify({ text, headers, secret }) {
      const { verifyWebhookSignature } = await import("@notionhq/client");
      const signature = headers["x-notion-signature"] ?? "";
      return verifyWebhookSignature({ body: text, signature, verificationToken: secret });
    },
  },
  onfido: {
    sdk: "@onfido/api",
    async verify({ text, headers, secret }) {
      const { WebhookEventVerifier } = require("@onfido/api");
      return Boolean(new WebhookEventVerifier(secret).readPayload(text, headers["x-sha2-signature"] ?? ""));
    },
  },
  "modern-treasury": {
    sdk: "modern-treasury",
    async verify({ text, headers, secret }) {
      const treasury = await client("modern-treasury", { organizationID: "unused" });
      return treasury.webhooks.validateSignature(text, headers, { key: secret });
    },
  },
  "kontent-ai": {
    sdk: "@kontent-ai/webhook-helper",
    async verify({ text, headers, secret }) {
      const { signatureHelper } = require("@kontent-ai/webhook-helper");
      return signatureHelper.isValidSignatureFromString(text, secret, headers["x-kontent-ai-signature"] ?? "");
    },
  },
  getstream: {
    sdk: "stream-chat",
    async verify({ raw, headers, secret }) {
      const { StreamChat } = require("stream-chat");
      return new StreamChat("key", secret).verifyWebhook(raw, headers["x-signature"] ?? "");
    },
  },
  easypost: {
    sdk: "@easypost/api",
    async verify({ raw, headers, secret }) {
      const EasyPost = require("@easypost/api");
      const api = new (EasyPost.default ?? EasyPost)("unused");
      // It reads the header by the name that the vendor sends.
      return Boolean(api.Utils.validateWebhook(raw, { "X-Hmac-Signature": headers["x-hmac-signature"] }, secret));
    },
  },
  fingerprint: {
    sdk: "@fingerprint/node-sdk",
    async verify({ raw, headers, secret }) {
      const { isValidWebhookSignature } = await import("@fingerprint/node-sdk");
      return isValidWebhookSignature({ header: headers["fpjs-event-signature"] ?? "", data: raw, secret });
    },
  },
  elevenlabs: {
    sdk: "@elevenlabs/elevenlabs-js",
    async verify({ text, headers, secret }) {
      const { ElevenLabsClient } = require("@elevenlabs/elevenlabs-js");
      const { webhooks } = new ElevenLabsClient({ apiKey: "unused" });
      return Boolean(await webhooks.constructEvent(text, headers["elevenlabs-signature"], secret));
    },
  },
  cashfree: {
    sdk: "cashfree-pg",
    async verify({ text, headers, secret }) {
      const { Cashfree, CFEnvironment } = require("cashfree-pg");
      const cashfree = new Cashfree(CFEnvironment.SANDBOX, "unused", secret);
      const [signature, timestamp] = ["x-webhook-signature", "x-webhook-timestamp"].map((name) => headers[name]);
      return Boolean(cashfree.PGVerifyWebhookSignature(signature, text, timestamp));
    },
  },
  contentful: {
    sdk: "@contentful/node-apps-toolkit",
    async sign({ text, headers, secret, url, now }) {
      const { signRequest } = require("@contentful/node-apps-toolkit");
      const own = { "content-type": headers["content-type"] };
      const request = { method: "POST", path: new URL(url).pathname, headers: own, body: text };
      return signRequest(secret, request, now * 1000);
    },
    async verify({ text, headers, secret, url, method }) {
      const { verifyRequest } = require("@contentful/node-apps-toolkit");
      const { pathname, search } = new URL(url);
      return verifyRequest(secret, { method, path: pathname + search, headers, body: text }, 30);
    },
  },
  smartcar: {
    sdk: "smartcar",
    compact: true,
    lenient: ["tampered"],
    async verify({ text, headers, secret }) {
      return require("smartcar").verifyPayload(secret, headers["sc-signature"] ?? "", JSON.parse(text));
    },
    async answer({ text, secret }) {
      const { data, payload } = JSON.parse(text);
      const challenge = require("smartcar").hashChallenge(secret, (data ?? payload).challenge);
      return { body: JSON.stringify({ challenge }) };
    },
  },
  worldline: {
    sdk: "onlinepayments-sdk-nodejs",
    async verify({ text, headers, secret }) {
      const { webhooks } = require("onlinepayments-sdk-nodejs");
      await webhooks.init({ getSecretKey: async () => secret }).validate(text, headers);
      return true;
    },
  },
  square: {
    sdk: "square",
    async verify({ text, headers, secret, url }) {
      const { WebhooksHelper } = await import("square");
      return WebhooksHelper.verifySignature({
        requestBody: text,
        signatureHeader: headers["x-square-hmacsha256-signature"] ?? "",
        signatureKey: secret,
        notificationUrl: url,
      });
    },
  },
  lark: {
    sdk: "@larksuiteoapi/node-sdk",
    compact: true,
    lenient: ["tampered"],
    async verify({ text, headers, secret }) {
      const { EventDispatcher, LoggerLevel } = require("@larksuiteoapi/node-sdk");
      const dispatcher = new EventDispatcher({ encryptKey: secret, loggerLevel: LoggerLevel.fatal });
      // The library's own adapters hand the headers over as the prototype of the body.
      const data = Object.assign(Object.create({ headers }), JSON.parse(text));
      return dispatcher.requestHandle.checkIsEventValidated(data);
    },
    async answer({ text, secret }) {
      const { generateChallenge } = require("@larksuiteoapi/node-sdk");
      const { isChallenge, challenge } = generateChallenge(JSON.parse(text), { encryptKey: secret });
      return { body: isChallenge ? JSON.stringify(challenge) : undefined };
    },
  },

  // URLs, forms, fields of the body

  twilio: {
    sdk: "twilio",
    async sign({ text, secret, url }) {
      const { getExpectedTwilioSignature } = require("twilio/lib/webhooks/webhooks");
      const form = Object.fromEntries(new URLSearchParams(text));
      return { "x-twilio-signature": getExpectedTwilioSignature(secret, url, form) };
    },
    async verify({ text, headers, secret, url }) {
      const { validateRequest } = require("twilio");
      return validateRequest(secret, headers["x-twilio-signature"] ?? "", url, Object.fromEntries(new URLSearchParams(text)));
    },
  },
  plivo: {
    sdk: "plivo",
    async verify({ text, headers, secret, url, method }) {
      const { validateV3Signature } = require("plivo");
      const [nonce, signature] = ["x-plivo-signature-v3-nonce", "x-plivo-signature-v3"].map((name) => headers[name] ?? "");
      return validateV3Signature(method, url, nonce, secret, signature, Object.fromEntries(new URLSearchParams(text)));
    },
  },
  adyen: {
    sdk: "@adyen/api-library",
    async sign({ text, secret }) {
      const { hmacValidator } = require("@adyen/api-library");
      const body = JSON.parse(text);
      const item = body.notificationItems[0].NotificationRequestItem;
      item.additionalData = { ...item.additionalData, hmacSignature: new hmacValidator().calculateHmac(item, secret) };
      return { body: JSON.stringify(body) };
    },
    async verify({ text, secret }) {
      const { hmacValidator } = require("@adyen/api-library");
      return new hmacValidator().validateHMAC(JSON.parse(text).notificationItems[0].NotificationRequestItem, secret);
    },
  },
  "dropbox-sign": {
    sdk: "@dropbox/sign",
    async verify({ text, headers, secret }) {
      const { EventCallbackHelper, EventCallbackRequest } = require("@dropbox/sign");
      const form = await new Response(text, { headers: { "content-type": headers["content-type"] } }).formData();
      return EventCallbackHelper.isValid(secret, EventCallbackRequest.init(JSON.parse(form.get("json"))));
    },
  },
  braintree: {
    sdk: "braintree",
    async sign({ secret }) {
      const braintree = require("braintree");
      const gateway = new braintree.BraintreeGateway({
        environment: braintree.Environment.Sandbox,
        merchantId: "m",
        publicKey: "public",
        privateKey: secret,
      });
      const sample = gateway.webhookTesting.sampleNotification("check", "id");
      return { body: new URLSearchParams(sample).toString() };
    },
    async answer({ query, secret }) {
      const braintree = require("braintree");
      const gateway = new braintree.BraintreeGateway({
        environment: braintree.Environment.Sandbox,
        merchantId: "m",
        publicKey: "integration_public_key",
        privateKey: secret,
      });
      return { body: gateway.webhookNotification.verify(query.get("bt_challenge")) };
    },
    async verify({ text, secret }) {
      const braintree = require("braintree");
      const form = new URLSearchParams(text);
      const gateway = new braintree.BraintreeGateway({
        environment: braintree.Environment.Sandbox,
        merchantId: "m",
        publicKey: form.get("bt_signature").split("|")[0],
        privateKey: secret,
      });
      return Boolean(await gateway.webhookNotification.parse(form.get("bt_signature"), form.get("bt_payload")));
    },
  },

  // Private keys

  discord: {
    sdk: "discord-interactions",
    key: rawEd25519.toString("hex"),
    async sign({ raw, now }) {
      const signature = signWith(null, Buffer.concat([Buffer.from(String(now)), raw]), ed25519.privateKey);
      return { "x-signature-timestamp": String(now), "x-signature-ed25519": signature.toString("hex") };
    },
    async verify({ raw, headers, secret }) {
      const { verifyKey } = require("discord-interactions");
      return verifyKey(raw, headers["x-signature-ed25519"] ?? "", headers["x-signature-timestamp"] ?? "", secret);
    },
    async answer({ raw, text, headers, secret }) {
      const { verifyKeyMiddleware, verifyWebhookEventMiddleware } = require("discord-interactions");
      const middleware = JSON.parse(text).type === 0 ? verifyWebhookEventMiddleware : verifyKeyMiddleware;
      const answer = { status: 200, body: "" };
      await new Promise((resolve, reject) => {
        const response = {
          set statusCode(status) {
            answer.status = status;
          },
          setHeader: (_, kind) => (answer.kind = kind),
          end: (body = "") => resolve((answer.body = body)),
        };
        middleware(secret)({ body: raw, header: (name) => headers[name.toLowerCase()] }, response, reject).catch(reject);
      });
      return answer;
    },
  },
  telnyx: {
    sdk: "telnyx",
    key: rawEd25519.toString("base64"),
    async sign({ raw, now }) {
      const signature = signWith(null, Buffer.concat([Buffer.from(`${now}|`), raw]), ed25519.privateKey);
      return { "telnyx-timestamp": String(now), "telnyx-signature-ed25519": signature.toString("base64") };
    },
    async verify({ text, headers, secret }) {
      const { TelnyxWebhook } = require("telnyx/lib/webhooks");
      await new TelnyxWebhook(secret).verify(text, headers);
      return true;
    },
  },
  sendgrid: {
    sdk: "@sendgrid/eventwebhook",
    lenient: ["stale"],
    key: p256.publicKey.export({ format: "der", type: "spki" }).toString("base64"),
    async sign({ raw, now }) {
      const signature = signWith("sha256", Buffer.concat([Buffer.from(String(now)), raw]), p256.privateKey);
      return {
        "x-twilio-email-event-webhook-timestamp": String(now),
        "x-twilio-email-event-webhook-signature": signature.toString("base64"),
      };
    },
    async verify({ raw, headers, secret }) {
      const { EventWebhook } = require("@sendgrid/eventwebhook");
      const webhook = new EventWebhook();
      return webhook.verifySignature(
        webhook.convertPublicKeyToECDSA(secret),
        raw,
        headers["x-twilio-email-event-webhook-signature"] ?? "",
        headers["x-twilio-email-event-webhook-timestamp"] ?? "",
      );
    },
  },
  "google-pubsub": {
    sdk: "google-auth-library",
    lenient: ["tampered"],
    key: pem(rsa),
    async sign({ now }) {
      const claims = {
        aud: "https://hooks.example.com",
        iss: "https://accounts.google.com",
        email: "push@project.iam.gserviceaccount.com",
        email_verified: true,
        sub: "1",
        iat: now,
        exp: now + 3600,
      };
      return { authorization: `Bearer ${jwt("RS256", claims, rsa.privateKey, "k1")}` };
    },
    async verify({ headers, secret }) {
      const { OAuth2Client } = await import("google-auth-library");
      const token = (headers.authorization ?? "").replace("Bearer ", "");
      const issuers = ["https://accounts.google.com", "accounts.google.com"];
      await new OAuth2Client().verifySignedJwtWithCertsAsync(token, { k1: secret }, "https://hooks.example.com", issuers);
      return true;
    },
  },

  truelayer: {
    sdk: "truelayer-signing",
    key: pem(p521),
    async sign({ text, url }) {
      const { sign } = require("truelayer-signing");
      const privateKeyPem = p521.privateKey.export({ format: "pem", type: "sec1" });
      const headers = { "x-tl-webhook-timestamp": new Date().toISOString() };
      const request = { kid: "k1", privateKeyPem, method: "POST", path: new URL(url).pathname, headers, body: text };
      return { ...headers, "tl-signature": sign(request) };
    },
    async verify({ text, headers, secret, url, method }) {
      const { verify } = require("truelayer-signing");
      const signature = headers["tl-signature"] ?? "";
      verify({ publicKeyPem: secret, signature, method, path: new URL(url).pathname, headers, body: text });
      return true;
    },
  },
  "aws-sns": {
    sdk: "sns-validator",
    key: pem(rsa),
    async sign({ text, message }) {
      const body = {
        ...JSON.parse(text),
        MessageId: message,
        SignatureVersion: "2",
        SigningCertURL: "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-0a1b2c.pem",
      };
      const names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"].filter((name) => name in body);
      const signed = names.map((name) => `${name}\n${body[name]}\n`).join("");
      return { body: JSON.stringify({ ...body, Signature: signWith("sha256", signed, rsa.privateKey).toString("base64") }) };
    },
    async verify({ text, secret }) {
      const Validator = require("sns-validator");
      const https = require("node:https");
      const { get } = https;
      // The library fetches the certificate; here it finds the key of this run.
      https.get = (_, done) => {
        const answer = new EventEmitter();
        answer.statusCode = 200;
        done(answer);
        answer.emit("data", secret);
        answer.emit("end");
        return new EventEmitter();
      };
      try {
        return await new Promise((resolve, reject) =>
          new Validator().validate(text, (error) => (error ? reject(error) : resolve(true))),
        );
      } finally {
        https.get = get;
      }
    },
  },
  kinde: {
    sdk: "@kinde/webhooks",
    key: pem(rsa),
    async sign({ text, message, now }) {
      const own = text.startsWith("{") ? JSON.parse(text) : { type: "user.created", data: { user: { id: "kp_1" } } };
      const claims = { ...own, event_id: message, iss: "https://acme.kinde.com", iat: now, exp: now + 300 };
      return { body: jwt("RS256", claims, rsa.privateKey, "k1") };
    },
    async verify({ text, secret }) {
      const { decodeWebhook } = require("@kinde/webhooks");
      const key = { ...createPublicKey(secret).export({ format: "jwk" }), kid: "k1", alg: "RS256", use: "sig" };
      const real = globalThis.fetch;
      // The library fetches the key set; here it finds the key of this run.
      globalThis.fetch = async () => Response.json({ keys: [key] });
      try {
        return (await decodeWebhook(text, "https://acme.kinde.com")) !== null;
      } finally {
        globalThis.fetch = real;
      }
    },
  },

  // JSON Web Tokens with a shared secret, passwords

  messagebird: {
    sdk: "messagebird",
    async verify({ raw, headers, secret, url }) {
      const { createSecretKey } = await import("node:crypto");
      const verify = require("messagebird/lib/webhook-signature-jwt");
      const key = createSecretKey(Buffer.from(secret));
      await (verify.verify ?? verify)(url, raw, headers["messagebird-signature-jwt"] ?? "", key);
      return true;
    },
  },
  vonage: {
    sdk: "@vonage/jwt",
    // The documented check of the body's hash is left to its users.
    lenient: ["tampered"],
    async verify({ headers, secret }) {
      const { verifySignature } = require("@vonage/jwt");
      return verifySignature((headers.authorization ?? "").replace("Bearer ", ""), secret);
    },
  },
  "atlassian-connect": {
    sdk: "atlassian-jwt",
    lenient: ["tampered"],
    async sign({ secret, url, now }) {
      const { createQueryStringHash, encodeSymmetric, fromMethodAndUrl } = require("atlassian-jwt");
      const { pathname, search } = new URL(url);
      const qsh = createQueryStringHash(fromMethodAndUrl("POST", pathname + search));
      return { authorization: `JWT ${encodeSymmetric({ iss: "client-key", iat: now, exp: now + 180, qsh }, secret)}` };
    },
    async verify({ headers, secret, url, method }) {
      const { createQueryStringHash, decodeSymmetric, fromMethodAndUrl } = require("atlassian-jwt");
      const { pathname, search } = new URL(url);
      const claims = decodeSymmetric((headers.authorization ?? "").replace("JWT ", ""), secret, "HS256");
      if (claims.exp < Date.now() / 1000) throw new Error("expired");
      return claims.qsh === createQueryStringHash(fromMethodAndUrl(method, pathname + search));
    },
  },
  livekit: {
    sdk: "livekit-server-sdk",
    async sign({ text, secret, now }) {
      const { AccessToken } = await import("livekit-server-sdk");
      const ttl = 300 + now - Math.floor(Date.now() / 1000);
      const token = new AccessToken("key", secret, { ttl: `${ttl} seconds` });
      token.sha256 = sha256(text, "base64");
      return { authorization: await token.toJwt() };
    },
    async verify({ text, headers, secret }) {
      const { WebhookReceiver } = await import("livekit-server-sdk");
      return Boolean(await new WebhookReceiver("key", secret).receive(text, headers.authorization));
    },
  },
  qstash: {
    sdk: "@upstash/qstash",
    async verify({ text, headers, secret, url }) {
      const { Receiver } = await import("@upstash/qstash");
      const receiver = new Receiver({ currentSigningKey: secret, nextSigningKey: "other" });
      return receiver.verify({ signature: headers["upstash-signature"] ?? "", body: text, url });
    },
  },
  chargebee: {
    sdk: "chargebee",
    lenient: ["tampered"],
    async verify({ headers, secret }) {
      const { basicAuthValidator } = require("chargebee");
      const [user, password] = secret.split(":");
      await basicAuthValidator((name, given) => name === user && given === password)(headers);
      return true;
    },
  },
};
