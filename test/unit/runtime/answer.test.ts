import assert from "node:assert/strict";
import { test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import { decodeUntrusted, encode } from "../../../src/runtime/messages/codec.ts";
import {
  type Answer,
  answer,
  encodeTask,
  type Handler,
  type LastUse,
  resultOf,
} from "../../../src/runtime/pools/pool.ts";

const answerOf = (work: (lastUse: LastUse) => unknown): Promise<Answer> => {
  const handler: Handler<null, unknown> = (_job, _blobs, lastUse) => work(lastUse!);
  return answer({ handler }, encodeTask({ work: "handler", job: null, blobs: [] }));
};

/** On another thread. */
const moved = ({ bytes, arrays }: Answer): Answer =>
  structuredClone({ bytes, arrays }, { transfer: [bytes, ...arrays].map(({ buffer }) => buffer) });

test("an array that is not used again moves, whole and not as bytes", async () => {
  const values = Float32Array.from({ length: 100_000 }, (_, i) => i);
  const found = await answerOf((lastUse) => {
    lastUse(values);
    return { values, again: values };
  });
  assert.ok(found.bytes.length < 100);
  const result = resultOf(moved(found)) as { values: Float32Array; again: Float32Array };
  assert.equal(values.length, 0);
  assert.deepEqual([result.values.length, result.values[99_999], result.again], [100_000, 99_999, result.values]);
});

test("what is memory of others, or a part of some, is copied", async () => {
  const found = await answerOf((lastUse) => {
    const whole = new Float32Array(4).fill(1);
    const other = new Float32Array(whole.buffer);
    const part = new Float32Array(4).subarray(1);
    const shared = new Float32Array(new SharedArrayBuffer(8));
    for (const array of [whole, other, part, shared]) lastUse(array);
    return { whole, other, part, shared };
  });
  assert.equal(found.arrays.length, 1);
  assert.deepEqual(resultOf(moved(found)), {
    whole: Float32Array.of(1, 1, 1, 1),
    other: Float32Array.of(1, 1, 1, 1),
    part: new Float32Array(3),
    shared: new Float32Array(2),
  });
});

test("nothing moves when work fails, or its result cannot travel", async () => {
  const values = Float32Array.of(1, 2);
  const failing = await answerOf((lastUse) => {
    lastUse(values);
    throw new TypeError("no such expert");
  });
  const unwieldy = await answerOf((lastUse) => {
    lastUse(values);
    return { values, more: new Map() };
  });
  assert.deepEqual([failing.arrays, unwieldy.arrays, values.length], [[], [], 2]);
  assert.throws(() => resultOf(failing), { message: "no such expert" });
  assert.throws(() => resultOf(unwieldy), /more is a Map/);
});

test("bytes that leave arrays out are no message from elsewhere", () => {
  const values = Float32Array.of(1);
  assert.throws(() => decodeUntrusted(encode({ values }, [values]), "a reply"), InputError);
  for (const bytes of [
    [0xd4, 0x2a, 0],
    [0xd6, 0x2a, 0, 0, 0, 0],
    [0xc7, 4, 0x2a, 0, 0, 0, 0],
  ])
    assert.throws(() => decodeUntrusted(Uint8Array.from(bytes), "a reply"), InputError);
});
