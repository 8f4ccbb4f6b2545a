import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as z from "zod";
import { InputError } from "../../../src/base/errors.ts";
import { parseAs, parseJson, readJson, readJsonAs, repeatedNames } from "../../../src/base/json.ts";
import { readInput } from "../../../src/base/text.ts";
import { availabilityFrom } from "../../../src/scenario/recorded.ts";
import { temporaryFolder } from "../../support/folders.ts";

const refuses = (read: () => unknown, message: RegExp) =>
  assert.throws(read, (error) => error instanceof InputError && message.test(error.message));

test("text that is not JSON is told with its place", () => {
  assert.deepEqual(parseJson('{"a": [1]}', "a.json"), { a: [1] });
  refuses(() => parseJson("{oops", "rows.jsonl line 3"), /^rows\.jsonl line 3 is not JSON: /);
});

test("a name that occurs twice in one object is found at any depth, and one that only looks so is not", () => {
  assert.deepEqual(repeatedNames('{"a":1,"b":{"a":2},"a":3}'), ["a"]);
  assert.deepEqual(repeatedNames('{"a":{"x":1,"x":2},"b":{"x":1}}'), ["x"]);
  assert.deepEqual(repeatedNames('[{"a":[{"x":{"y":1,"z":2,"y":1}}]},{"a":1}]'), ["y"]);
  assert.deepEqual(repeatedNames('{"a":1,"\\u0061":2}'), ["a"]);
  assert.deepEqual(repeatedNames('{"":1 , "":2, "b\\\\" :1,"b\\\\":2}'), ["", "b\\"]);
  assert.deepEqual(repeatedNames('{"a":"a","b":["a","a","\\"a\\":"],"c":"{\\"a\\":1}"}'), []);
  refuses(
    () => parseJson('{"r": 8, "lora_alpha": 16, "r": 4}', "c.json"),
    /^c\.json: the name "r" occurs twice in one/,
  );
});

test("a byte-order mark in front is no part of the text, wherever it comes from", (t) => {
  assert.deepEqual(parseJson('\ufeff{"a": [1]}', "a.json"), { a: [1] });
  const path = join(temporaryFolder(t), "a.json");
  writeFileSync(path, '\ufeff{"period": 10800000, "devices": [[[0, 3600000]], [[0, 9000000]]]}');
  assert.equal(readInput(path)[0], "{");
  assert.equal(availabilityFrom(path).devices.length, 2);
  refuses(() => parseJson("\ufeff\ufeff1", "a.json"), /^a\.json is not JSON/);
});

test("a value of another shape is told with the place and the field", () => {
  const schema = z.object({ rows: z.array(z.object({ loss: z.number() })) });
  assert.deepEqual(parseAs(schema, '{"rows": [{"loss": 1}]}', "a.json"), { rows: [{ loss: 1 }] });
  refuses(
    () => parseAs(schema, '{"rows": [{"loss": "low"}]}', "a.json"),
    /^a\.json: rows\[0\]\.loss is "low", expected a number/,
  );
  refuses(() => parseAs(schema, "7", "a.json"), /^a\.json: .*expected an object/);
});

test("a file that is missing, or larger than was asked for, is wrong input", (t) => {
  const path = join(temporaryFolder(t), "a.json");
  refuses(() => readJson(path), /^cannot read .*a\.json: ENOENT/);
  writeFileSync(path, "[1, 2, 3]");
  assert.deepEqual(readJsonAs(z.array(z.number()), path), [1, 2, 3]);
  refuses(() => readJson(path, 4), /a\.json has 9 B, expected at most 4 B/);
});
