import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InputError } from "../../src/base/errors.ts";
import type { Example } from "../../src/data/example.ts";
import { parseExamples } from "../../src/data/records.ts";

const limits = { recordBytes: 4_096, depth: 16, records: 1_000 };
/** 500 in all; a nightly run asks for more. */
const runs = Number(process.env.FLAME_FUZZ_RUNS ?? 150);

async function parse(bytes: Uint8Array, size: number): Promise<Example[]> {
  const examples: Example[] = [];
  const chunks = function* () {
    for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size);
  };
  for await (const example of parseExamples(chunks(), "data", limits)) examples.push(example);
  return examples;
}

/** Whatever the bytes: examples of strings, or one InputError. Nothing else is thrown. */
async function survives(bytes: Uint8Array, size: number): Promise<void> {
  try {
    for (const example of await parse(bytes, size)) {
      for (const field of ["instruction", "input", "response", "category"] as const) {
        assert.equal(typeof example[field], "string");
      }
      assert.equal(typeof (example.system ?? ""), "string");
      for (const exchange of example.history ?? []) {
        assert.deepEqual([typeof exchange.instruction, typeof exchange.response], ["string", "string"]);
      }
    }
  } catch (error) {
    assert.ok(error instanceof InputError, `${(error as Error).stack}`);
    assert.match(error.message, /^data/);
  }
  assert.deepEqual(Object.keys(Object.prototype), []);
}

const message = fc.record(
  {
    role: fc.constantFrom("system", "user", "assistant", "tool"),
    content: fc.oneof(fc.string(), fc.array(fc.record({ text: fc.string() })), fc.jsonValue()),
    from: fc.constantFrom("human", "gpt", "__proto__"),
    value: fc.string(),
    weight: fc.jsonValue(),
  },
  { requiredKeys: [] },
);

const record = fc.record(
  {
    instruction: fc.oneof(fc.string({ unit: "binary" }), fc.jsonValue()),
    input: fc.oneof(fc.string(), fc.constant(null)),
    output: fc.oneof(fc.string(), fc.jsonValue()),
    system: fc.oneof(fc.string(), fc.jsonValue()),
    history: fc.oneof(fc.array(fc.tuple(fc.string(), fc.string()), { maxLength: 3 }), fc.jsonValue()),
    messages: fc.oneof(fc.array(message, { maxLength: 4 }), fc.jsonValue()),
    category: fc.constantFrom("a", "b", "__proto__", "constructor"),
    ["__proto__"]: fc.constant({ instruction: "polluted" }),
  },
  { requiredKeys: [] },
);

const text = fc.oneof(
  fc.array(record).map((records) => JSON.stringify(records)),
  fc.array(record).map((records) => JSON.stringify(records, null, 1)),
  fc.array(record).map((records) => records.map((one) => JSON.stringify(one)).join("\n")),
);

test("damaged files give examples or one clear error, never anything else", async () => {
  await fc.assert(
    fc.asyncProperty(
      text,
      fc.array(
        fc.record({
          at: fc.nat(),
          remove: fc.nat(9),
          put: fc.oneof(fc.constantFrom(...'{}[],:"\\\n\u0000'), fc.string({ maxLength: 3 })),
        }),
        { maxLength: 4 },
      ),
      fc.integer({ min: 1, max: 200 }),
      async (whole, damages, size) => {
        let bytes = Buffer.from(whole);
        for (const { at, remove, put } of damages) {
          const from = at % (bytes.length + 1);
          bytes = Buffer.concat([bytes.subarray(0, from), Buffer.from(put), bytes.subarray(from + remove)]);
        }
        await survives(bytes, size);
      },
    ),
    { numRuns: runs, seed: 1 },
  );
});

test("arbitrary bytes behind a bracket give one clear error or examples", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("[", "{", "[{", ""),
      fc.uint8Array({ maxLength: 300 }),
      fc.integer({ min: 1, max: 64 }),
      (start, bytes, size) => survives(Buffer.concat([Buffer.from(start), bytes]), size),
    ),
    { numRuns: runs, seed: 2 },
  );
});

test("the two layouts and any chunk size read the same", async () => {
  const clean = fc
    .record({ instruction: fc.string({ unit: "grapheme", minLength: 1 }), response: fc.string({ unit: "grapheme" }) })
    .map(({ instruction, response }) => ({ instruction: `i${instruction}`, response: `r${response}` }));
  await fc.assert(
    fc.asyncProperty(
      fc.array(clean, { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1, max: 100 }),
      async (records, size) => {
        const expected = records.map((one) => ({ ...one, input: "", category: "uncategorised" }));
        assert.deepEqual(await parse(Buffer.from(JSON.stringify(records)), size), expected);
        assert.deepEqual(
          await parse(Buffer.from(records.map((one) => JSON.stringify(one)).join("\n")), size),
          expected,
        );
      },
    ),
    { numRuns: 100, seed: 3 },
  );
});
