/**
 * Files that were cut, damaged or mislabelled, by the thousand: each is either sound and reads to its last element, or
 * is refused with one `InputError` that names the file.
 *
 *   FUZZ_CASES=20000 node --import tsx --test test/property/model-safetensors.test.ts
 */
import assert from "node:assert/strict";
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import { InputError } from "../../src/base/errors.ts";
import { loadCheckpoint } from "../../src/model/formats/checkpoint.ts";
import { floatDtypes, SafetensorsFile } from "../../src/model/formats/safetensors.ts";
import { dtypeBytes } from "../../src/model/formats/safetensors-header.ts";
import { writeSafetensors } from "../../src/model/formats/safetensors-writer.ts";
import { narrowBfloat, narrowHalf, widenBfloat, widenHalf } from "../../src/tensor/stored/half.ts";
import { plainSafetensors, randomTensors, smallConfig, withHeader, writeFolder } from "../support/model-folder.ts";

const cases = Number(process.env.FUZZ_CASES ?? 2_000);
/** The run is the same every time unless a seed is asked for. */
const seed = Number(process.env.FUZZ_SEED ?? 4);
const folder = mkdtempSync(join(tmpdir(), "flame-fuzz-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, "m.safetensors");
const reusedFile = openSync(path, "w+");
after(() => closeSync(reusedFile));

/** One file for all cases: making one costs more than reading it. */
function writeCase(bytes: Uint8Array): void {
  ftruncateSync(reusedFile, 0);
  writeSync(reusedFile, bytes, 0, bytes.length, 0);
}

/** Opens and reads everything. True if the file is sound; anything but an InputError passes through. */
function isSound(bytes: Uint8Array): boolean {
  writeCase(bytes);
  let file: SafetensorsFile;
  try {
    file = SafetensorsFile.open(path);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    assert.ok(error.message.startsWith(path), error.message);
    assert.ok(error.message.length < 8_000, "the message is longer than a person reads");
    return false;
  }
  let covered = 0;
  for (const { name, dtype, size, start, bytes: length } of file.tensors.values()) {
    assert.ok(start >= 8 && start + length <= bytes.length, `${name} lies outside the file`);
    assert.equal(size * dtypeBytes[dtype], length);
    const stored = new Uint8Array(length);
    file.readBytes(name, stored);
    assert.ok(Buffer.from(stored).equals(bytes.subarray(start, start + length)));
    if (floatDtypes.has(dtype)) file.floats(name);
    covered += length;
  }
  file.close();
  assert.equal(
    bytes.length - covered,
    8 + Number(Buffer.from(bytes).readBigUInt64LE(0)),
    "not all bytes belong to a tensor",
  );
  return true;
}

interface Fields {
  dtype: unknown;
  shape: unknown;
  data_offsets: unknown;
}

const dtypes = Object.keys(dtypeBytes) as (keyof typeof dtypeBytes)[];
const tensorName = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.constantFrom("__proto__", "constructor", "model.norm.weight", 'ü\u0000"'),
);

/** A sound file as header and data. */
const soundFile = fc
  .uniqueArray(
    fc.record({
      name: tensorName.filter((name) => name !== "__metadata__"),
      dtype: fc.constantFrom(...dtypes),
      shape: fc.array(fc.nat({ max: 4 }), { maxLength: 3 }),
    }),
    { maxLength: 5, selector: ({ name }) => name },
  )
  .map((tensors) => {
    let offset = 0;
    const header = new Map<string, Fields>();
    for (const { name, dtype, shape } of tensors) {
      const begin = offset;
      offset += shape.reduce((a, b) => a * b, dtypeBytes[dtype] as number);
      header.set(name, { dtype, shape, data_offsets: [begin, offset] });
    }
    const data = Buffer.from(Array.from({ length: offset }, (_, i) => (i * 37) & 0xff));
    return { header, data };
  });

const encode = (header: ReadonlyMap<string, unknown>, data: Uint8Array) =>
  withHeader(JSON.stringify(Object.fromEntries(header)), data);

test("a sound file is accepted and read to its last byte", () => {
  fc.assert(
    fc.property(soundFile, ({ header, data }) => assert.ok(isSound(encode(header, data)))),
    { numRuns: Math.ceil(cases / 10), seed },
  );
});

test("a file cut anywhere is refused", () => {
  fc.assert(
    fc.property(soundFile, fc.nat(), ({ header, data }, at) => {
      const bytes = encode(header, data);
      assert.ok(!isSound(bytes.subarray(0, at % bytes.length)));
    }),
    { numRuns: Math.ceil(cases / 10), seed },
  );
});

test("damaged bytes are refused or harmless, never read out of bounds", () => {
  const damage = fc.array(
    fc.tuple(fc.nat(), fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(0x22, 0x2c, 0x30, 0x39, 0x5b, 0x7b, 0x7d))),
    {
      minLength: 1,
      maxLength: 6,
    },
  );
  // Most damage falls on the length and the header, where it can mislead.
  fc.assert(
    fc.property(soundFile, damage, fc.boolean(), ({ header, data }, changes, inHeader) => {
      const bytes = encode(header, data);
      const reach = inHeader ? bytes.length - data.length : bytes.length;
      for (const [at, value] of changes) bytes[at % reach] = value;
      isSound(bytes);
    }),
    { numRuns: Math.ceil(cases * 0.3), seed },
  );
});

const hostileNumber = fc.oneof(
  fc.integer({ min: -2, max: 40 }),
  fc.constantFrom(2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 1e300, 0.5, -0),
);
const hostileValue = fc.oneof(
  hostileNumber,
  fc.constantFrom(null, true, "", "F32", "f32", "F8_E5M2", "BOOL", {}, [], [[]], [0], [0, 0, 0]),
  fc.array(hostileNumber, { maxLength: 4 }),
);

test("mislabelled tensors are refused unless the label still fits", () => {
  const change = fc.record({
    tensor: fc.nat(),
    field: fc.constantFrom("dtype", "shape", "data_offsets") as fc.Arbitrary<keyof Fields>,
    value: hostileValue,
  });
  fc.assert(
    fc.property(soundFile, fc.array(change, { minLength: 1, maxLength: 3 }), ({ header, data }, changes) => {
      const entries = [...header];
      for (const { tensor, field, value } of changes) {
        const entry = entries[tensor % Math.max(1, entries.length)];
        if (entry !== undefined) entry[1] = { ...entry[1], [field]: value };
      }
      isSound(encode(new Map(entries), data));
    }),
    { numRuns: Math.ceil(cases * 0.3), seed },
  );
});

test("any JSON as a header, and any bytes as a file, are refused or sound", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), fc.uint8Array({ maxLength: 16 }), (json, data) => {
      isSound(withHeader(json, data));
    }),
    { numRuns: Math.ceil(cases / 10), seed },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      isSound(bytes);
    }),
    { numRuns: Math.ceil(cases / 10), seed },
  );
});

test("a model folder with damaged files is refused or whole", () => {
  const model = join(folder, "model");
  const tensors = randomTensors(smallConfig);
  const weights = plainSafetensors(tensors);
  const config = Buffer.from(JSON.stringify(smallConfig));
  writeFolder(model, smallConfig, tensors, 2);
  const index = Buffer.from(
    JSON.stringify({
      weight_map: Object.fromEntries(
        [...tensors.keys()].map((name, i) => [name, `model-${(i % 2) + 1}-of-2.safetensors`]),
      ),
    }),
  );
  const headerEnd = 8 + Number(weights.readBigUInt64LE(0));
  const files = [
    { name: "config.json", bytes: config, reach: config.length },
    { name: "model.safetensors.index.json", bytes: index, reach: index.length },
    { name: "model.safetensors", bytes: weights, reach: headerEnd },
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...files),
      fc.array(fc.tuple(fc.nat(), fc.nat({ max: 127 })), { minLength: 1, maxLength: 4 }),
      ({ name, bytes, reach }, changes) => {
        const damaged = Buffer.from(bytes);
        for (const [at, value] of changes) damaged[at % reach] = value;
        writeFileSync(join(model, name), damaged);
        try {
          loadCheckpoint(model).close();
        } catch (error) {
          if (!(error instanceof InputError)) throw error;
          assert.ok(error.message.startsWith(model), error.message);
        } finally {
          if (name === "model.safetensors") rmSync(join(model, name));
          else writeFileSync(join(model, name), bytes);
        }
      },
    ),
    { numRuns: Math.ceil(cases / 10), seed },
  );
});

test("what is written is read back: exactly in float32, rounded once in 16 bits, or refused where that is not finite", () => {
  const values = fc.float32Array({ maxLength: 40 });
  fc.assert(
    fc.property(values, fc.constantFrom("F32", "F16", "BF16"), (written, dtype) => {
      const file = join(folder, "written.safetensors");
      const write = () =>
        writeSafetensors(file, [{ name: "w", shape: [written.length], values: written }], { dtype: dtype as "F32" });
      const expected = written.slice();
      if (dtype !== "F32") {
        const bits = new Uint16Array(written.length);
        (dtype === "F16" ? narrowHalf : narrowBfloat)(written, bits);
        (dtype === "F16" ? widenHalf : widenBfloat)(bits, expected);
        if (!expected.every(Number.isFinite)) return assert.throws(write, InputError);
      }
      write();
      const opened = SafetensorsFile.open(file);
      const read = opened.floats("w");
      opened.close();
      assert.deepEqual(read, expected);
    }),
    { numRuns: Math.min(200, Math.ceil(cases / 20)), seed },
  );
});
