/** Two machines round differently; what they compute is then compared as numbers, and everything else as before. */
import assert from "node:assert/strict";
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { compareRuns, isSame } from "../../src/study/diff.ts";
import { temporaryFolder } from "../support/folders.ts";
import { playTable, tabular } from "../support/tabular-run.ts";

test("trained numbers may differ by the tolerance, and counts, times and events by nothing", async (t) => {
  const folder = temporaryFolder(t);
  const [a, b] = [join(folder, "a"), join(folder, "b")] as const;
  await playTable(tabular(), { out: a });
  cpSync(a, b, { recursive: true });
  const change = (name: string, by: (text: string) => string) => {
    const path = join(b, name);
    const text = readFileSync(path, "utf8");
    assert.notEqual(by(text), text, `${name} is changed`);
    writeFileSync(path, by(text));
  };

  // Every loss by a millionth, and every value of the model by the last digits.
  change("metrics.jsonl", (text) =>
    text.replaceAll(/"loss":([\d.]+)/g, (_, loss) => `"loss":${Number(loss) * (1 + 1e-6)}`),
  );
  const [name] = readdirSync(join(b, "adapter")).filter((file) => file.endsWith(".safetensors"));
  const path = join(b, "adapter", name!);
  const bytes = readFileSync(path);
  for (let at = 8 + Number(bytes.readBigUInt64LE(0)); at < bytes.length; at += 4) bytes[at]! ^= 1;
  writeFileSync(path, bytes);

  const strict = compareRuns(a, b);
  assert.equal(strict.metrics?.line, 1);
  assert.deepEqual(strict.files, [`adapter/${name}`]);
  assert.ok(isSame(compareRuns(a, b, 1e-5)), "within a hundred-thousandth");
  const fine = compareRuns(a, b, 1e-9);
  assert.ok(fine.metrics !== null && fine.files.length === 1, "and not within a billionth");

  change("metrics.jsonl", (text) =>
    text.replace(/"downloadBytes":(\d+)/, (_, n) => `"downloadBytes":${Number(n) + 1}`),
  );
  assert.match(compareRuns(a, b, 0.5).metricsFields[0]!.path, /downloadBytes/);
  change("events.jsonl", (text) => text.replace('"t":', '"t":0.'));
  assert.equal(compareRuns(a, b, 0.5).events?.line, 1);
});
