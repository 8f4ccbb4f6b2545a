import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InputError } from "../../src/base/errors.ts";
import type { ParticipationId, Round } from "../../src/base/ids.ts";
import type { Millis } from "../../src/base/units.ts";
import { decode, decodeUntrusted, encode } from "../../src/runtime/messages/codec.ts";
import { damaged, Envelope, open, seal, stamped } from "../../src/runtime/messages/envelope.ts";
import { inspect } from "../../src/runtime/messages/plain.ts";
import type { BlobRef, PledgeRef } from "../../src/runtime/messages/refs.ts";

/** Bits of any sort; NaNs of other patterns are the same NaN to JavaScript. */
const floats = fc.float32Array({ maxLength: 80 });
const key = fc.string({ unit: "grapheme", maxLength: 40 }).filter((text) => text !== "__proto__" && text !== "ref");
const leaf = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.constantFrom(-0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, -32, -33, -128, -129, -32_769),
  fc.string({ unit: "grapheme", maxLength: 300 }).filter((text) => !text.startsWith("\ufeff")),
  fc.boolean(),
  fc.constant(null),
  fc.constant(undefined),
  floats,
  fc.uint8Array({ maxLength: 300 }),
  fc.float64Array({ maxLength: 40 }),
  fc.int16Array(),
);
const { value: plain } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    leaf,
    fc.array(tie("value"), { maxLength: 20 }),
    fc.dictionary(key, tie("value"), { maxKeys: 20, noNullPrototype: true }),
  ),
}));

const clean = { noNullPrototype: true };
const digest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("hex"));
const reference = fc.oneof(
  fc.record({ ref: fc.constant("blob" as const), digest, bytes: fc.nat() }, clean),
  fc.record({ ref: fc.constant("pledge" as const), id: fc.nat(), bytes: fc.nat() }, clean),
) as fc.Arbitrary<BlobRef | PledgeRef>;
const address = fc.record({ kind: fc.string({ minLength: 1, maxLength: 12 }), id: fc.nat() }, clean);
const header = fc.record(
  {
    from: address,
    to: address,
    sequence: fc.nat(),
    sentAt: fc.nat().map((ms) => ms as Millis),
    stage: fc.constantFrom("download" as const, "upload" as const, "acknowledge" as const, null),
    message: fc.record(
      {
        type: fc.string({ maxLength: 12 }),
        round: fc.nat().map((round) => round as Round),
        participation: fc.nat().map((id) => id as ParticipationId),
        content: plain,
        attached: fc.array(reference, { maxLength: 20 }),
      },
      { requiredKeys: ["type"], noNullPrototype: true },
    ),
  },
  clean,
);

test("plain data come back from bytes as they were, and are as long as was worked out without the bytes", () => {
  fc.assert(
    fc.property(plain, (value) => {
      const bytes = encode(value);
      assert.equal(inspect(value).length, bytes.length);
      assert.deepStrictEqual(decode(bytes), value);
      assert.deepStrictEqual(decodeUntrusted(bytes, "value"), value);
    }),
    { numRuns: 250, seed: 2 },
  );
});

type Sent = Pick<Envelope, "from" | "to" | "sequence" | "sentAt" | "stage" | "message">;
const sent = ({ from, to, sequence, sentAt, stage, message }: Sent): Envelope =>
  new Envelope(from, to, sequence, sentAt, stage, message);

test("an envelope comes back as it was sent, and is metered with its blobs and pledges", () => {
  fc.assert(
    fc.property(header, (fields) => {
      const envelope = sent(fields);
      const attached = envelope.refs.reduce((sum, ref) => sum + ref.bytes, 0);
      assert.equal(envelope.bytes, seal(envelope).length + attached);
      const opened = open(seal(envelope));
      assert.deepStrictEqual(opened, envelope);
      assert.deepStrictEqual(opened.message, fields.message);
    }),
    { numRuns: 150, seed: 3 },
  );
});

test("what is sent weighs the same whatever was sent before", () => {
  fc.assert(
    fc.property(header, header, (first, second) => {
      const bytes = seal(sent(second));
      seal(sent(first));
      assert.deepStrictEqual(seal(sent(second)), bytes);
    }),
    { numRuns: 100, seed: 7 },
  );
});

test("no single flipped bit of an envelope goes unnoticed", () => {
  fc.assert(
    fc.property(header, fc.nat(), (fields, where) => {
      const envelope = sent(fields);
      const bytes = seal(envelope);
      const bit = where % (8 * bytes.length);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      assert.throws(() => open(bytes), InputError);
      assert.throws(() => open(damaged(envelope)), InputError);
    }),
    { numRuns: 150, seed: 4 },
  );
});

/** Bytes with one stretch replaced, inserted or cut out. */
const mutilated = (bytes: Uint8Array, at: number, cut: number, put: Uint8Array): Uint8Array => {
  const start = at % (bytes.length + 1);
  return Uint8Array.from([...bytes.subarray(0, start), ...put, ...bytes.subarray(start + cut)]);
};

test("whatever bytes come, an envelope opens or gives an InputError, and prototypes stay clean", () => {
  const opens = (bytes: Uint8Array): void => {
    try {
      open(bytes, "envelope");
    } catch (error) {
      assert.ok(error instanceof InputError, String(error));
    }
  };
  const damage = [fc.nat(), fc.nat({ max: 6 }), fc.uint8Array({ maxLength: 6 })] as const;
  const forged = fc.property(header, ...damage, (fields, at, cut, put) => {
    // With a checksum that fits, as a forger would send it.
    opens(stamped(mutilated(seal(sent(fields)).subarray(0, -4), at, cut, put)));
  });
  const random = fc.property(fc.uint8Array({ maxLength: 200 }), (body) => opens(stamped(body)));
  fc.assert(forged, { numRuns: 300, seed: 5 });
  fc.assert(random, { numRuns: 200, seed: 6 });
  assert.deepEqual(Object.keys(Object.prototype), []);
  assert.equal(({} as Record<string, unknown>).type, undefined);
});
