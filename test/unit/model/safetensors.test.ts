import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError, InvariantError, MachineError } from "../../../src/base/errors.ts";
import { SafetensorsFile } from "../../../src/model/formats/safetensors.ts";
import {
  type StoredDtype,
  streamSafetensors,
  writeSafetensors,
} from "../../../src/model/formats/safetensors-writer.ts";
import { TensorFolder } from "../../../src/model/formats/tensor-folder.ts";
import { narrowBfloat, narrowHalf, widenBfloat, widenHalf } from "../../../src/tensor/stored/half.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { plainSafetensors, randomTensors, smallConfig, withHeader, writeFolder } from "../../support/model-folder.ts";

const one = { shape: [2], values: Float32Array.of(1, 2) };

function messageOfOpening(path: string): string {
  try {
    SafetensorsFile.open(path).close();
  } catch (error) {
    assert.ok(error instanceof InputError, `expected an InputError, got ${error}`);
    assert.ok(error.message.startsWith(path), error.message);
    return error.message;
  }
  return assert.fail("the file was accepted");
}

test("a number that 16 bits cannot hold ends the file, with its tensor and what to do", (context) => {
  const path = join(temporaryFolder(context), "model.safetensors");
  const write = (dtype: StoredDtype, ...second: number[]) => {
    const first = { name: "first", shape: [2], values: Float32Array.of(1, 65_504) };
    const tensor = { name: "second", shape: [second.length], values: Float32Array.from(second) };
    writeSafetensors(path, [first, tensor], { dtype });
  };
  // The largest float16 is 65504; 65519 rounds to it and 65520 does not. bfloat16 ends at 3.39e38.
  write("F16", 0, 65_519, -65_519);
  write("BF16", 0, 1e6, 3.389e38);
  write("F32", 3.4e38, Number.POSITIVE_INFINITY);
  rmSync(path);
  for (const [dtype, value, remedy] of [
    ["F16", 65_520, "float16 can hold; store it as bfloat16 or float32"],
    ["F16", -1e6, "float16 can hold; store it as bfloat16 or float32"],
    ["F16", Number.NaN, "float16 can hold; store it as bfloat16 or float32"],
    ["BF16", 3.4e38, "bfloat16 can hold; store it as float32"],
    ["BF16", Number.NEGATIVE_INFINITY, "bfloat16 can hold; store it as float32"],
  ] as const) {
    assert.throws(
      () => write(dtype, 0, value),
      (error: Error) =>
        error instanceof InputError &&
        error.message ===
          `${path}: tensor second has ${Math.fround(value)} at element 1, expected a finite number that ${remedy}`,
    );
    assert.equal(existsSync(path), false);
  }
});

test("every float16 survives widening and narrowing", () => {
  const patterns = Uint16Array.from({ length: 0x10000 }, (_, i) => i);
  const wide = new Float32Array(patterns.length);
  widenHalf(patterns, wide);
  const narrow = new Uint16Array(patterns.length);
  narrowHalf(wide, narrow);
  const again = new Float32Array(patterns.length);
  widenHalf(narrow, again);
  for (const [i, pattern] of patterns.entries()) {
    if (Number.isNaN(wide[i])) assert.ok(Number.isNaN(again[i]));
    else assert.equal(narrow[i], pattern);
  }
});

test("float16 rounds to nearest, ties to even, with subnormals and infinity", () => {
  const cases: [value: number, pattern: number][] = [
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    [65519.99, 0x7bff],
    [65520, 0x7c00],
    [Number.NEGATIVE_INFINITY, 0xfc00],
    // 1 + 2⁻¹¹ lies halfway between 1 and 1 + 2⁻¹⁰: even wins; 1 + 3·2⁻¹¹ goes up to 1 + 2⁻⁹.
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
    [2 ** -14, 0x0400],
    [2 ** -24, 0x0001],
    [2 ** -25, 0x0000],
    [1.0001 * 2 ** -25, 0x0001],
    [1.5 * 2 ** -24, 0x0002],
    // The largest subnormal and a half rounds up into the normal numbers.
    [1023.5 * 2 ** -24, 0x0400],
    [-0, 0x8000],
  ];
  const narrow = new Uint16Array(cases.length);
  narrowHalf(
    Float32Array.from(cases, ([value]) => value),
    narrow,
  );
  for (const [i, [value, pattern]] of cases.entries()) assert.equal(narrow[i], pattern, String(value));
});

test("bfloat16 is the upper half of a float32, rounded to nearest even", () => {
  const cases: [value: number, pattern: number][] = [
    [1, 0x3f80],
    [-1.5, 0xbfc0],
    // Half of the last place: 1 + 2⁻⁸ stays even, 1 + 3·2⁻⁸ goes up.
    [1 + 2 ** -8, 0x3f80],
    [1 + 3 * 2 ** -8, 0x3f82],
    [1 + 2 ** -8 + 2 ** -20, 0x3f81],
    [3.4e38, 0x7f80],
    [Number.POSITIVE_INFINITY, 0x7f80],
    [-0, 0x8000],
  ];
  const narrow = new Uint16Array(cases.length);
  narrowBfloat(
    Float32Array.from(cases, ([value]) => value),
    narrow,
  );
  for (const [i, [value, pattern]] of cases.entries()) assert.equal(narrow[i], pattern, String(value));
  const nan = new Uint16Array(1);
  narrowBfloat(Float32Array.of(Number.NaN), nan);
  const back = new Float32Array(1);
  widenBfloat(nan, back);
  assert.ok(Number.isNaN(back[0]));
});

test("floating-point tensors of every width are read as float32", (context) => {
  const path = join(temporaryFolder(context), "model.safetensors");
  const data = Buffer.alloc(16 + 8 + 4 + 4);
  data.writeDoubleLE(0.1, 0);
  data.writeDoubleLE(-2, 8);
  data.writeFloatLE(1.25, 16);
  data.writeFloatLE(-3, 20);
  data.writeUInt16LE(0x3c00, 24);
  data.writeUInt16LE(0xc000, 26);
  data.writeUInt16LE(0x3f80, 28);
  data.writeUInt16LE(0xc040, 30);
  const header = {
    double: { dtype: "F64", shape: [2], data_offsets: [0, 16] },
    single: { dtype: "F32", shape: [2, 1], data_offsets: [16, 24] },
    half: { dtype: "F16", shape: [2], data_offsets: [24, 28] },
    brain: { dtype: "BF16", shape: [1, 2], data_offsets: [28, 32] },
  };
  // Nothing says that a tensor begins at a multiple of its width.
  writeFileSync(path, withHeader(`${JSON.stringify(header)}   `, data));
  const file = SafetensorsFile.open(path);
  assert.deepEqual([...file.floats("double")], [Math.fround(0.1), -2]);
  assert.deepEqual([...file.floats("single")], [1.25, -3]);
  assert.deepEqual([...file.floats("half")], [1, -2]);
  assert.deepEqual([...file.floats("brain")], [1, -3]);
  const last = new Float32Array(1);
  file.readFloats("brain", last, 1);
  assert.equal(last[0], -3);
  assert.throws(() => file.readFloats("brain", new Float32Array(2), 1), InvariantError);
  file.close();
  assert.throws(() => file.floats("half"), InvariantError);
});

test("integers are not read as floats", (context) => {
  const path = join(temporaryFolder(context), "m.safetensors");
  writeFileSync(path, withHeader('{"ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}', Buffer.alloc(8, 1)));
  const file = SafetensorsFile.open(path);
  assert.throws(() => file.floats("ids"), /"ids" is I64, expected a floating-point type/);
  assert.throws(() => file.floats("nothing"), /no tensor "nothing"/);
  const bytes = new Uint8Array(8);
  file.readBytes("ids", bytes);
  assert.deepEqual([...bytes], new Array(8).fill(1));
  file.close();
});

test("headers that lie are refused, each with its reason", (context) => {
  const path = join(temporaryFolder(context), "m.safetensors");
  const tensor = (fields: string) => withHeader(`{"w":{${fields}}}`, Buffer.alloc(8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(2n ** 63n);
  const cases: [bytes: Uint8Array, reason: RegExp][] = [
    [Buffer.alloc(0), /expected at least 8 bytes, got 0/],
    [Buffer.alloc(5), /expected at least 8 bytes, got 5/],
    [Buffer.concat([length, Buffer.alloc(100)]), /header length is 9223372036854775808 bytes, expected at most/],
    [withHeader('{"w":1}').subarray(0, 12), /header length is 7 bytes, but only 4 follow/],
    [withHeader(""), /begins with "", expected "{"/],
    [withHeader("[]"), /begins with "\[", expected "{"/],
    [withHeader("\ufeff{}"), /begins with/],
    [withHeader('{"w":'), /not JSON/],
    [Buffer.concat([withHeader("{}").subarray(0, 8), Buffer.from([0xff, 0xfe])]), /not UTF-8/],
    [withHeader('{"w":[]}'), /"w" is \[\], expected an object/],
    [tensor('"shape":[2],"data_offsets":[0,8]'), /dtype is missing, expected one of F64, F32/],
    [tensor('"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]'), /dtype is "F8_E4M3", expected one of/],
    [tensor('"dtype":"toString","shape":[2],"data_offsets":[0,8]'), /dtype is "toString"/],
    [tensor('"dtype":"F32","shape":[-2],"data_offsets":[0,8]'), /shape is \[-2\]/],
    [tensor('"dtype":"F32","shape":[2.5],"data_offsets":[0,8]'), /shape is \[2.5\]/],
    [tensor('"dtype":"F32","shape":"2","data_offsets":[0,8]'), /shape is "2"/],
    [tensor('"dtype":"F32","shape":[2],"data_offsets":[0]'), /data_offsets is \[0\]/],
    [tensor('"dtype":"F32","shape":[2],"data_offsets":[8,0]'), /data_offsets is \[8, 0\]/],
    [tensor('"dtype":"F32","shape":[4],"data_offsets":[0,16]'), /begin ≤ end ≤ 8/],
    [tensor('"dtype":"F32","shape":[3],"data_offsets":[0,8]'), /needs 12 bytes, but data_offsets \[0, 8\] span 8/],
    // 2⁵² · 2⁵² · 4 wraps to 0 in 64 bits, and rounds in a double.
    [
      tensor('"dtype":"F32","shape":[4503599627370496,4503599627370496],"data_offsets":[0,0]'),
      /needs 81129638414606681695789005144064/,
    ],
    [tensor('"dtype":"F32","shape":[1],"data_offsets":[0,4]'), /the tensors end at 4, but the file has 8 bytes/],
    [tensor('"dtype":"F32","shape":[1],"data_offsets":[4,8]'), /begins at 4, which leaves a gap from 0/],
    [
      withHeader(
        '{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
      ),
      /"w" occurs twice/,
    ],
    [withHeader('{"__metadata__":{"format":1}}'), /__metadata__.format is 1, expected a text/],
    [
      withHeader(`{"w":{"dtype":"F32","shape":${"[".repeat(50_000)}${"]".repeat(50_000)},"data_offsets":[0,0]}}`),
      /shape is/,
    ],
  ];
  for (const [bytes, reason] of cases) {
    writeFileSync(path, bytes);
    assert.match(messageOfOpening(path), reason);
  }
});

test("everything wrong in a header is said at once, and a long list is cut", (context) => {
  const path = join(temporaryFolder(context), "m.safetensors");
  const entry = '{"dtype":"F99","shape":[1],"data_offsets":[0,4]}';
  writeFileSync(
    path,
    withHeader(`{"a":${entry},"b":{"dtype":"F32","shape":null,"data_offsets":[0,4]},"c":4}`, Buffer.alloc(4)),
  );
  const message = messageOfOpening(path);
  assert.match(message, /3 mistakes/);
  for (const name of ["a", "b", "c"]) assert.match(message, new RegExp(`tensor "${name}"`));
  const many = Array.from({ length: 500 }, (_, i) => `"t${i}":${entry}`).join();
  writeFileSync(path, withHeader(`{${many}}`));
  assert.match(messageOfOpening(path), /500 mistakes[\s\S]*and 490 more/);
});

test("overlapping tensors are refused", (context) => {
  const path = join(temporaryFolder(context), "m.safetensors");
  const tensor = (begin: number, end: number) =>
    `{"dtype":"U8","shape":[${end - begin}],"data_offsets":[${begin},${end}]}`;
  writeFileSync(path, withHeader(`{"a":${tensor(0, 6)},"b":${tensor(4, 8)}}`, Buffer.alloc(8)));
  assert.match(messageOfOpening(path), /"b" begins at 4, inside "a", which ends at 6/);
});

test("names that JavaScript knows are ordinary names", (context) => {
  const path = join(temporaryFolder(context), "m.safetensors");
  writeSafetensors(path, [
    { name: "__proto__", ...one },
    { name: "constructor", ...one },
  ]);
  const file = SafetensorsFile.open(path);
  assert.deepEqual([...file.tensors.keys()], ["__proto__", "constructor"]);
  assert.deepEqual([...file.floats("__proto__")], [1, 2]);
  assert.equal(({} as Record<string, unknown>).dtype, undefined);
  file.close();
});

test("a missing file, a folder and a file that shrinks are said to be so", (context) => {
  const folder = temporaryFolder(context);
  assert.match(messageOfOpening(join(folder, "none.safetensors")), /cannot be opened/);
  assert.match(messageOfOpening(folder), /expected a file, got a folder/);
  const path = join(folder, "m.safetensors");
  writeSafetensors(path, [{ name: "w", ...one }]);
  const file = SafetensorsFile.open(path);
  writeFileSync(path, readFileSync(path).subarray(0, -4));
  assert.throws(() => file.floats("w"), /ends at byte \d+, expected \d+; changed\?/);
  file.close();
});

test("the same tensors give the same bytes, aligned, and plain code reads them", (context) => {
  const folder = temporaryFolder(context);
  const tensors = [
    { name: "a", shape: [1, 2], values: Float32Array.of(1.5, -2) },
    { name: "b", shape: [3], values: Float32Array.of(1, 2, 3) },
  ];
  for (const name of ["x", "y"]) writeSafetensors(join(folder, name), tensors, { dtype: "BF16" });
  const bytes = readFileSync(join(folder, "x"));
  assert.deepEqual(bytes, readFileSync(join(folder, "y")));
  const length = Number(bytes.readBigUInt64LE());
  assert.equal(length % 8, 0);
  assert.deepEqual(JSON.parse(bytes.subarray(8, 8 + length).toString()), {
    __metadata__: { format: "pt" },
    a: { dtype: "BF16", shape: [1, 2], data_offsets: [0, 4] },
    b: { dtype: "BF16", shape: [3], data_offsets: [4, 10] },
  });
  assert.equal(bytes.length, 8 + length + 10);
  assert.equal(bytes.readUInt16LE(8 + length), 0x3fc0);
});

test("a write that fails leaves the old file and nothing else", (context) => {
  const folder = temporaryFolder(context);
  const path = join(folder, "m.safetensors");
  writeSafetensors(path, [{ name: "w", ...one }]);
  const before = readFileSync(path);
  function* failing() {
    yield Float32Array.of(1);
    throw new Error("the source broke");
  }
  assert.throws(() => streamSafetensors(path, [{ name: "w", shape: [2] }], failing()), /the source broke/);
  assert.throws(() => streamSafetensors(path, [{ name: "w", shape: [2] }], [Float32Array.of(1)]), InvariantError);
  assert.deepEqual(readFileSync(path), before);
  assert.deepEqual(readdirSync(folder), ["m.safetensors"]);
  mkdirSync(join(folder, "taken"));
  assert.throws(() => writeSafetensors(join(folder, "taken"), [{ name: "w", ...one }]), MachineError);
  assert.deepEqual(readdirSync(folder).sort(), ["m.safetensors", "taken"]);
});

test("a sharded folder gives the tensors of all its files", (context) => {
  const folder = temporaryFolder(context);
  const tensors = randomTensors(smallConfig);
  writeFolder(folder, smallConfig, tensors, 3);
  const opened = TensorFolder.open(folder);
  assert.equal(opened.files.length, 3);
  assert.equal(opened.tensors.size, tensors.size);
  for (const [name, { values }] of tensors) {
    const got = new Float32Array(values.length);
    opened.readFloats(name, got);
    assert.deepEqual(got, values);
  }
  opened.close();
});

test("an index may not reach out of its folder, and must agree with the files", (context) => {
  const folder = temporaryFolder(context);
  const refused = (weightMap: unknown, reason: RegExp) => {
    writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify({ weight_map: weightMap }));
    assert.throws(
      () => TensorFolder.open(folder),
      (error) => error instanceof InputError && reason.test(error.message),
    );
  };
  writeFileSync(
    join(folder, "a.safetensors"),
    plainSafetensors(
      new Map([
        ["w", one],
        ["x", one],
      ]),
    ),
  );
  writeFileSync(join(folder, "b.safetensors"), plainSafetensors(new Map([["x", one]])));
  for (const file of ["../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..\\a.safetensors", "a.bin", 7, null]) {
    refused({ w: file }, /expected the name of a \.safetensors file in this folder/);
  }
  refused({ w: "a.safetensors", x: "a.safetensors", y: "a.safetensors" }, /a\.safetensors has no tensor "y"/);
  refused({ w: "a.safetensors" }, /a\.safetensors has a tensor "x" that the index does not name/);
  refused({ w: "a.safetensors", x: "b.safetensors" }, /tensor "x" is in a\.safetensors and b\.safetensors/);
  refused({ w: "gone.safetensors" }, /gone\.safetensors: cannot be opened/);
  refused({}, /names no tensor/);
  refused(["w"], /expected an object "weight_map"/);
});

test("a folder of pickles is refused with the reason", (context) => {
  const folder = temporaryFolder(context);
  assert.throws(() => TensorFolder.open(join(folder, "none")), /there is no such folder/);
  assert.throws(
    () => TensorFolder.open(folder),
    /expected model\.safetensors or model\.safetensors\.index\.json, got neither/,
  );
  writeFileSync(join(folder, "pytorch_model.bin"), "");
  assert.throws(() => TensorFolder.open(folder), /a pickle can run code/);
});
