/** Files as people have them, rebuilt small: what `flame eval` finds was computed without this project. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { runFlame } from "../support/command-line.ts";
import { temporaryFolder } from "../support/folders.ts";

const numbers = Array.from({ length: 20 }, (_, at) => at);
const say = (at: number) => ({ instruction: `Say the number ${at}.`, input: "", output: `number ${at}` });

async function evaluated(t: TestContext, records: readonly object[]) {
  const path = join(temporaryFolder(t), "data.json");
  writeFileSync(path, JSON.stringify(records, null, 1));
  const { code, out, err } = await runFlame("eval", "--data", path, "--budget", "8", "--json");
  assert.equal(code, 0, err);
  const { remarks, evaluations } = JSON.parse(out);
  assert.equal(err.trim(), remarks.join("\n"));
  return { remarks, ...evaluations[0] };
}

test("Alpaca and Dolly in one table: every row is read under the spelling that has its text", async (t) => {
  const table = numbers.map((at) =>
    at % 2 === 0
      ? { ...say(at), context: "", response: "", category: "" }
      : {
          instruction: `Who is ${at}?`,
          input: "",
          output: "",
          context: `Person ${at} is the baker of the village.`,
          response: `The baker ${at}.`,
          category: "closed_qa",
        },
  );
  const { examples, responseTokens, loss, remarks } = await evaluated(t, table);
  assert.deepEqual([examples, responseTokens, remarks], [20, 230, []]);
  assert.ok(Math.abs(loss - 3.63397) < 1e-5, `${loss}`);
});

test("blank and null outputs are passed over, and it is said where", async (t) => {
  const outputs = numbers.map((at) =>
    at === 3 ? { ...say(at), output: null } : at === 7 ? { ...say(at), output: " \n" } : say(at),
  );
  const { examples, remarks } = await evaluated(t, outputs);
  assert.equal(examples, 18);
  assert.deepEqual(remarks, [
    "passed over, the response is blank or null: 2 times, first in data.json element 3 (line 17)",
  ]);
});
