import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { InputError } from "../../src/base/errors.ts";
import type { ParticipationId, Round } from "../../src/base/ids.ts";
import type { Millis } from "../../src/base/units.ts";
import { decode, decodeUntrusted, encode } from "../../src/runtime/messages/codec.ts";
import { Envelope, open, seal } from "../../src/runtime/messages/envelope.ts";
import { Form } from "../../src/runtime/messages/forms.ts";
import { measure, References } from "../../src/runtime/messages/plain.ts";
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
const letter = fc.record(
  {
    from: address,
    to: address,
    sequence: fc.nat(),
    sentAt: fc.nat().map((ms) => ms as Millis),
    leg: fc.constantFrom("download" as const, "upload" as const, "acknowledge" as const, null),
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

test("plain data come back from bytes as they were, and weigh what was computed", () => {
  fc.assert(
    fc.property(plain, (value) => {
      const bytes = encode(value);
      assert.equal(bytes.length, measure(value, new References()));
      assert.deepStrictEqual(decode(bytes), value);
      assert.deepStrictEqual(decodeUntrusted(bytes, "value"), value);
    }),
    { numRuns: 500, seed: 2 },
  );
});

/** Records alike and less alike, one after the other. */
const alike = fc.array(
  fc.record(
    {
      type: fc.constantFrom("train", "update"),
      part: fc.oneof(reference, fc.record({ ref: fc.constantFrom("none", "blob2"), inner: plain }, clean), plain),
      number: fc.oneof(fc.nat(), fc.constant(-0), plain),
    },
    { requiredKeys: ["type"], noNullPrototype: true },
  ),
  { maxLength: 12 },
);

test("a form that has seen other records weighs the next one exactly and finds what it refers to", () => {
  fc.assert(
    fc.property(alike, (records) => {
      const form = new Form();
      for (const record of [...records, ...records]) {
        const [refs, expected] = [new References(), new References()];
        assert.equal(form.measure(record, refs), measure(record, expected));
        assert.equal(form.measure(record, refs), encode(record).length);
        assert.deepStrictEqual(refs.list, expected.list);
      }
    }),
    { numRuns: 500, seed: 7 },
  );
});

test("a form takes nothing that is not plain, however well it knows the rest", () => {
  const form = new Form();
  const record = (part: unknown) => ({ type: "note", inner: { part } });
  form.measure(record(1), new References());
  for (const part of [() => 1, 1n, new Date(0), new Map(), Symbol("part"), "\ud800", { ref: "blob", digest: 7 }]) {
    assert.throws(() => form.measure(record(part), new References()), /expected plain data, but value\.inner/);
  }
  assert.equal(form.measure(record(2), new References()), encode(record(2)).length);
});

type Letter = Pick<Envelope, "from" | "to" | "sequence" | "sentAt" | "leg" | "message">;
const envelope = ({ from, to, sequence, sentAt, leg, message }: Letter): Envelope =>
  new Envelope(from, to, sequence, sentAt, leg, message);

test("an envelope comes back as it was sent, and is metered with its blobs and pledges", () => {
  fc.assert(
    fc.property(letter, (header) => {
      const sent = envelope(header);
      const bytes = seal(sent);
      const attached = sent.refs.reduce((sum, ref) => sum + ref.bytes, 0);
      assert.equal(sent.bytes, bytes.length + attached);
      assert.deepStrictEqual(open(bytes), sent);
    }),
    { numRuns: 300, seed: 3 },
  );
});

test("no single flipped bit of an envelope goes unnoticed", () => {
  fc.assert(
    fc.property(letter, fc.nat(), (header, where) => {
      const bytes = seal(envelope(header));
      const bit = where % (8 * bytes.length);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      assert.throws(() => open(bytes), InputError);
    }),
    { numRuns: 300, seed: 4 },
  );
});

/** Bytes with one stretch replaced, inserted or cut out. */
const mutilated = (bytes: Uint8Array, at: number, cut: number, put: Uint8Array): Uint8Array => {
  const start = at % (bytes.length + 1);
  return Uint8Array.from([...bytes.subarray(0, start), ...put, ...bytes.subarray(start + cut)]);
};

/** The body with a checksum that fits, as a forger would send it. */
const stamped = (body: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(body.length + 4);
  bytes.set(body);
  new DataView(bytes.buffer).setUint32(body.length, crc32(body));
  return bytes;
};

test("whatever bytes come, an envelope opens or gives an InputError, and prototypes stay clean", () => {
  const opens = (bytes: Uint8Array): void => {
    try {
      open(bytes, "letter");
    } catch (error) {
      assert.ok(error instanceof InputError, String(error));
    }
  };
  const damage = [fc.nat(), fc.nat({ max: 6 }), fc.uint8Array({ maxLength: 6 })] as const;
  const forged = fc.property(letter, ...damage, (header, at, cut, put) => {
    const bytes = seal(envelope(header));
    opens(stamped(mutilated(bytes.subarray(0, -4), at, cut, put)));
  });
  const random = fc.property(fc.uint8Array({ maxLength: 200 }), (body) => opens(stamped(body)));
  fc.assert(forged, { numRuns: 1_500, seed: 5 });
  fc.assert(random, { numRuns: 1_000, seed: 6 });
  assert.deepEqual(Object.keys(Object.prototype), []);
  assert.equal(({} as Record<string, unknown>).type, undefined);
});
