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

const folder = new URL("../../golden/data/parquet/", import.meta.url).pathname;

async function read(path: string): Promise<{ readonly examples: Example[]; readonly notes: readonly string[] }> {
  const reading = new Reading();
  const examples: Example[] = [];
  for await (const example of readExamples(path, reading)) examples.push(example);
  return { examples, notes: reading.notes };
}

test("a table has the same examples however it is packed, over several groups of rows", async () => {
  const names = readdirSync(folder).filter((name) => name.startsWith("alpaca-") && name !== "alpaca-lz4.parquet");
  assert.equal(names.length, 7);
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
