import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import { InputError } from "../../../src/base/errors.ts";
import { otherKind } from "../../../src/base/file-kind.ts";
import { readJson } from "../../../src/base/json.ts";
import { readExamples } from "../../../src/data/records.ts";
import { SafetensorsFile } from "../../../src/model/formats/safetensors.ts";
import { availabilityFrom } from "../../../src/scenario/recorded.ts";
import { temporaryFolder } from "../../support/folders.ts";

const latin = (text: string): Buffer => Buffer.concat([Buffer.from(text, "latin1"), Buffer.alloc(64)]);
const json = '{"instruction": "a", "output": "b"}\n'.repeat(4);

const strangers: readonly (readonly [Uint8Array, RegExp])[] = [
  [
    Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${"2e".repeat(32)}\nsize 542848\n`),
    /Git LFS pointer .*git lfs pull/,
  ],
  [Buffer.from("<!DOCTYPE html>\n<html><title>404 Not Found</title></html>"), /HTML .*download/],
  [Buffer.from("\ufeff\n<html><body>Sign in</body></html>"), /HTML .*download/],
  [Buffer.from("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"), /XML .*download/],
  [Buffer.from(`\ufeff${json}`, "utf16le"), /UTF-16; save it as UTF-8/],
  [Buffer.from(json, "utf16le"), /UTF-16/],
  [latin("PK\x03\x04\x14\0\0\0"), /ZIP archive/],
  // Examples are read from Parquet, nothing else is.
  [latin("PAR1\x15\x04\x15\x20"), /Parquet .*(to_json|cannot be read: parquet file invalid)/],
  [latin("ARROW1\0\0"), /Arrow .*to_json/],
  [latin("\xff\xff\xff\xff\x88\x02\0\0"), /Arrow/],
  [latin("\x80\x04\x95\x10\0\0\0\0\0\0\0"), /pickle, which could execute code/],
  [latin("\x28\xb5\x2f\xfd\x04\x58\x01\x02"), /zstd/],
  [latin("GGUF\x03\0\0\0"), /GGUF/],
];

/** The message of every reader of other people's files. */
async function messages(t: TestContext, bytes: Uint8Array): Promise<string[]> {
  const path = join(temporaryFolder(t), "file");
  writeFileSync(path, bytes);
  const readers: (() => unknown)[] = [
    () => readJson(path),
    () => availabilityFrom(path),
    () => SafetensorsFile.open(path),
    () => readExamples(path).next(),
  ];
  const found: string[] = [];
  for (const reader of readers) {
    await assert.rejects(
      async () => reader(),
      (error: Error) => {
        assert.ok(error instanceof InputError, `${error.stack}`);
        return found.push(error.message) > 0;
      },
    );
  }
  return found;
}

test("a file of another kind is named as what it is, with the remedy, by every reader", async (t) => {
  for (const [bytes, message] of strangers) {
    for (const text of await messages(t, bytes)) assert.match(text, message);
  }
});

test("gzip is named by the readers that do not unpack it", (t) => {
  const path = join(temporaryFolder(t), "config.json");
  writeFileSync(path, gzipSync(json));
  assert.throws(() => readJson(path), /config\.json is packed with gzip; unpack it with gunzip/);
});

test("text and tensors are taken for nothing else", () => {
  const table = "PAR1,BZh,PK,GGUF\n1,2,3,4\n";
  for (const text of [
    "",
    "{",
    json,
    ` \n${json}`,
    `\ufeff${json}`,
    "[]",
    "7",
    "device,start\n",
    table,
    "PK\r\n1",
    "PK\n1",
    "PAR1\t2",
    "GGUF\n",
    "\u{80}\u{4}",
  ]) {
    assert.equal(otherKind(Buffer.from(text)), null, JSON.stringify(text));
  }
});
