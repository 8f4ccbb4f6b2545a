/** Parquet files as pyarrow writes them; see test/golden/data/parquet/make.py. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import type { Example } from "../../../src/data/example.ts";
import { Reading } from "../../../src/data/reading.ts";
import { readExamples } from "../../../src/data/records.ts";
import { file, loadData } from "../../../src/data/source.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { type Claims, encodings, parquetFile } from "../../support/parquet-file.ts";

const folder = new URL("../../golden/data/parquet/", import.meta.url).pathname;

async function read(path: string): Promise<{ readonly examples: Example[]; readonly notes: readonly string[] }> {
  const reading = new Reading();
  const examples: Example[] = [];
  for await (const example of readExamples(path, reading)) examples.push(example);
  return { examples, notes: reading.notes };
}

test("a table has the same examples however it is packed, over several groups of rows", async () => {
  const names = readdirSync(folder).filter((name) => name.startsWith("alpaca-") && name !== "alpaca-lz4.parquet");
  assert.equal(names.length, 8);
  for (const name of names) {
    const { examples, notes } = await read(join(folder, name));
    assert.deepEqual(examples, [
      { instruction: "Say one.", input: "", response: "one", category: "a" },
      { instruction: "Say two.", input: "", response: "two", category: "b" },
      { instruction: "Sage drei: ä€😀", input: "x", response: "drei", category: "a" },
    ]);
    assert.deepEqual(notes, [
      `not read: "note": ${name} row 3`,
      `passed over, the response is blank or null: ${name} row 3`,
    ]);
  }
  await assert.rejects(
    read(join(folder, "alpaca-lz4.parquet")),
    (error) => error instanceof InputError && /^alpaca-lz4\.parquet is a Parquet file that.*: LZ4/.test(error.message),
  );
});

test("conversations in lists of structures are conversations", async () => {
  const { examples, notes } = await read(join(folder, "messages.parquet"));
  assert.deepEqual(examples, [
    { system: "Be brief.", instruction: "One?", input: "", response: "1", category: "uncategorised" },
    {
      history: [{ instruction: "Two?", response: "2" }],
      ...{ instruction: "Three?", input: "", response: "3", category: "uncategorised" },
    },
  ]);
  assert.deepEqual(notes, []);
});

test("the digest of the data is that of the file", async () => {
  const path = join(folder, "alpaca-zstd.parquet");
  const { digest, examples } = await loadData(file(path), { seed: 1, maxTokens: 64 });
  assert.equal(digest, createHash("sha256").update(readFileSync(path)).digest("hex"));
  assert.equal(examples, 3);
});

test("a file that is cut off is refused, and where pages have checksums, whatever is flipped in them", async (t) => {
  const path = join(temporaryFolder(t), "data.parquet");
  const whole = readFileSync(join(folder, "alpaca-checked.parquet"));
  const isRefused = async (bytes: Uint8Array): Promise<boolean> => {
    writeFileSync(path, bytes);
    return read(path).then(
      () => false,
      (error) => {
        assert.ok(error instanceof InputError && error.message.startsWith("data.parquet"), `${error}`);
        return true;
      },
    );
  };
  assert.equal(await isRefused(whole), false);
  for (let size = 4; size < whole.length; size += 37) assert.equal(await isRefused(whole.subarray(0, size)), true);
  // A text of the first column, and the values of the last.
  for (const [from, bytes] of [
    [whole.indexOf("Sage drei"), 9],
    [whole.indexOf("words in a row"), 14],
  ] as const) {
    for (let at = from; at < from + bytes; at++) {
      const flipped = Uint8Array.from(whole);
      flipped[at]! ^= 1 << (at % 8);
      assert.equal(await isRefused(flipped), true, `${at}`);
    }
  }
});

/** A run of so many zeros of a few bits: their number, then a byte. */
const zeros = (count: number): number[] => {
  const header = 2 * count;
  const groups = [0, 7, 14, 21, 28].map((shift) => (header / 2 ** shift) & 127);
  return [...groups.map((group, at) => (at < 4 ? group | 128 : group)), 0];
};
const first = (values: number, encoding: number) => ({ 1: values, 2: encoding, 3: encodings.rle, 4: encodings.rle });
const second = (values: number, nulls: number, rows: number, definition: number, repetition: number) => ({
  ...{ 1: values, 2: nulls, 3: rows, 4: encodings.rleDictionary, 5: definition, 6: repetition, 7: false },
});
const most = 2 ** 30;

const lies: Readonly<Record<string, readonly [Claims, RegExp]>> = {
  "a run of indices longer than the page has values": [
    { rows: 2, page: first(2, encodings.rleDictionary), body: [1, ...zeros(most)] },
    /a run of 1073741824 values where 2 are left/,
  ],
  "a run of levels longer than the page has values": [
    { rows: 2, isOptional: true, page: first(2, encodings.plain), body: [6, 0, 0, 0, ...zeros(most)] },
    /a run of 1073741824 values where 2 are left/,
  ],
  "a run of truth values longer than the page has values": [
    { rows: 2, type: "truth", page: first(2, encodings.rle), body: [6, 0, 0, 0, ...zeros(most)] },
    /a run of 1073741824 values where 2 are left/,
  ],
  "indices of no bits, without end": [
    { rows: 2, isSecond: true, page: second(2, 0, 2, 0, 0), body: [0, 255, 255, 255, 255, 15] },
    /a run of \d+ values where 2 are left/,
  ],
  "texts that take over more than the one before has": [
    // Blocks of 128 in 4 parts, 2 numbers from 0 on, a step of 2^30, no bits; then 2 numbers that are 0.
    {
      rows: 2,
      page: first(2, encodings.deltaByteArray),
      body: [...[128, 1, 4, 2, 0, 128, 128, 128, 128, 8, 0, 0, 0, 0], ...[128, 1, 4, 2, 0, 0, 0, 0, 0, 0]],
    },
    /a text that takes over 1073741824 of 0 bytes/,
  ],
  "texts in blocks of parts that lead backwards": [
    { rows: 2, page: first(2, encodings.deltaByteArray), body: [128, 1, 255, 255, 255, 255, 15, 4] },
    /differences in blocks of 128 values in -1 parts/,
  ],
  "a page that is described as two kinds": [
    {
      ...{ rows: 2, isSecond: true, page: second(2, 0, 2, 0, 0), other: first(2, encodings.plain) },
      body: [1, ...zeros(most)],
    },
    /a page of the type DATA_PAGE_V2 that is described as another/,
  ],
  "levels longer than their page": [
    { rows: 2, isSecond: true, page: second(2, 0, 2, 100, 0), body: [1, 4, 0] },
    /levels that do not end/,
  ],
  "levels of less than no bytes": [
    { rows: 2, isSecond: true, page: second(2, 0, 2, -(2 ** 30), 0), body: [1, 4, 0] },
    /levels that do not end/,
  ],
  "more nulls than values": [
    { rows: 2, isSecond: true, page: second(2, 3, 2, 0, 0), body: [1, 4, 0] },
    /2 values, with 3 nulls/,
  ],
  "more values than there are rows": [
    { rows: 2, page: first(3, encodings.rleDictionary), body: [0] },
    /column "text" has 3 values in 2 rows/,
  ],
  "a page of billions of values": [
    { rows: 2 ** 30, page: first(2 ** 30, encodings.rleDictionary), body: [0] },
    /a page of 1 bytes and 1073741824 values/,
  ],
  "a description as long as the memory": [
    { rows: 2, page: first(2, encodings.rleDictionary), body: [0], footer: 2 ** 31 },
    /its description has 2147483648 bytes/,
  ],
};

test("a description of lists in lists is refused before any list is made", async (t) => {
  const path = join(temporaryFolder(t), "data.parquet");
  // A field that is a list of 2^23 lists, and so on.
  const nested = Uint8Array.from([0x19, ...Array.from({ length: 40 }, () => [0xf9, 128, 128, 128, 4]).flat()]);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(nested.length);
  writeFileSync(path, Buffer.concat([Buffer.from("PAR1"), nested, length, Buffer.from("PAR1")]));
  await assert.rejects(read(path), /a list of 8388608 values of type 9 in \d+ bytes/);
});

test("a page that claims more than it holds is refused before anything of that size is made", async (t) => {
  const path = join(temporaryFolder(t), "data.parquet");
  const before = process.memoryUsage();
  for (const [lie, [claims, said]] of Object.entries(lies)) {
    writeFileSync(path, parquetFile(claims));
    await assert.rejects(
      read(path),
      (error) => {
        assert.ok(error instanceof InputError, `${lie}: ${(error as Error).stack}`);
        assert.match(error.message, said, lie);
        return true;
      },
      lie,
    );
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  const more = heapUsed + arrayBuffers - before.heapUsed - before.arrayBuffers;
  assert.ok(more < 2 ** 26, `${more} bytes`);
});
