import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import { readTokenRows } from "../../../src/data/token-rows.ts";
import { temporaryFolder } from "../../support/folders.ts";

test("rows of token ids are read whole: what says something of every row and is not read is refused", (t) => {
  const path = join(temporaryFolder(t), "tokens.json");
  const read = (content: object) => {
    writeFileSync(path, JSON.stringify(content));
    return readTokenRows(path, { vocabulary: 16, maxTokens: 8 });
  };
  const refused = (content: object, message: RegExp) =>
    assert.throws(
      () => read(content),
      (error) => error instanceof InputError && message.test(error.message),
    );
  const rows = {
    ids: [
      [1, 2, 3],
      [4, 5, 0],
    ],
    lengths: [3, 2],
  };
  const labels = [
    [-100, -100, 3],
    [-100, 5, -100],
  ];
  // Text about the file is no row of it.
  assert.deepEqual([...read({ ...rows, labels, seed: 1, layout: "[rows, length]" }).targets], [3, 5]);
  refused({ ...rows, lables: labels }, /"lables" says something of every row, and is not read/);
  refused({ ...rows, position_ids: rows.ids }, /"position_ids" says something of every row/);
  refused({ ...rows, input_ids: labels }, /input_ids\[0\]\[0\] is -100/);
  refused({ ...rows, input_ids: rows.ids }, /"ids" and "input_ids" are two names of one field/);
  refused({ ...rows, attention_mask: [[1], [1]] }, /"lengths" and "attention_mask" say the same/);
});
