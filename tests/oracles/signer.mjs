// Signs and judges webhooks with the vendors' own libraries: one JSON request a line on stdin, one JSON answer a line
// on stdout.
//
//   {"id":1,"op":"sign","provider":"stripe","secret":"whsec_…","body":"<base64>","timestamp":1700000000,"message":"msg_1"}
//   {"id":1,"headers":{"stripe-signature":"t=…,v1=…"}}        or {"id":1,"error":"…"}
//   {"id":2,"op":"judge","provider":"stripe","secret":"whsec_…","body":"<base64>","headers":{…},"url":"https://…"}
//   {"id":2,"accepted":false,"why":"…"}
//   {"id":2,"op":"answer","provider":"zoom","secret":"…","body":"<base64>","headers":{…},"url":"https://…"}
//   {"id":2,"status":200,"kind":"application/json","body":"…"}      what the vendor's own receiver would answer
//   {"id":3,"op":"vendors"}      what vendors.mjs knows
//   {"id":4,"op":"examples"}
//   {"id":4,"examples":[{"event":"push","body":"<base64>"}, …]}
//
// A fresh signature is handed out only after the vendor's own verifier has accepted it.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { vendors } from "./vendors.mjs";

const require = createRequire(import.meta.url);

// What the libraries print must not stand among the answers.
const say = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);

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

function asSeen(request) {
  const raw = Buffer.from(request.body, "base64");
  const text = raw.toString("utf8");
  // The libraries take text; a body that does not survive that would be signed over something else.
  if (!Buffer.from(text, "utf8").equals(raw)) throw new Error("the libraries sign UTF-8 text only");
  const pairs = Object.entries(request.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]);
  const url = request.url ?? `https://hooks.example.com/webhooks/${request.provider}`;
  return {
    raw,
    text,
    url,
    headers: Object.fromEntries(pairs),
    query: new URL(url).searchParams,
    method: request.method ?? "POST",
    secret: request.secret,
    message: request.message,
    now: request.timestamp ?? Math.floor(Date.now() / 1000),
  };
}

async function judge(vendor, seen) {
  try {
    const accepted = await vendor.verify(seen);
    return { accepted: accepted !== false, why: String(accepted) };
  } catch (error) {
    return { accepted: false, why: String(error?.message ?? error) };
  }
}

async function sign(vendor, seen, isFresh) {
  const { body, ...headers } = await vendor.sign(seen);
  if (isFresh) {
    const text = body ?? seen.text;
    const made = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]);
    const signed = { ...seen, text, raw: Buffer.from(text), headers: { ...seen.headers, ...Object.fromEntries(made) } };
    const verdict = await judge(vendor, signed);
    if (!verdict.accepted) throw new Error(`${vendor.sdk} refuses what it signed: ${verdict.why}`);
  }
  return { headers, body: body === undefined ? undefined : Buffer.from(body).toString("base64") };
}

async function answer(request) {
  if (request.op === "examples") return { examples: examples() };
  if (request.op === "vendors") {
    const known = Object.entries(vendors).map(([name, { sdk, sign, key, lenient, compact }]) => [
      name,
      { sdk, signs: sign !== undefined, key, lenient: lenient ?? [], compact: compact ?? false },
    ]);
    return { vendors: Object.fromEntries(known) };
  }
  const vendor = vendors[request.provider];
  if (request.op === "answer") return vendor.answer(asSeen(request));
  const seen = asSeen({ ...request, secret: vendor.key ?? request.secret });
  if (request.op === "judge") return judge(vendor, seen);
  return sign(vendor, seen, Math.abs(Date.now() / 1000 - seen.now) < 290);
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let reply;
  try {
    reply = await answer(request);
  } catch (error) {
    reply = { error: String(error?.stack ?? error) };
  }
  say(JSON.stringify({ id: request.id, ...reply }) + "\n");
}
