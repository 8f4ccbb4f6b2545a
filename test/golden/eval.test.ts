/** `flame eval` on the reference checkpoint: losses of base and adapter are those of transformers and PEFT. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { exportPeft } from "../../src/model/formats/adapters/peft.ts";
import { runFlame } from "../support/command-line.ts";
import { temporaryFolder } from "../support/folders.ts";
import { goldenFolder, loadGolden } from "../support/golden.ts";

test("the reference's losses come out of the command line", async (t) => {
  const golden = await loadGolden();
  const { layout, rescaler, expected } = golden;
  const adapter = temporaryFolder(t);
  const ones = new Float32Array(layout.layers).fill(1);
  exportPeft(adapter, layout, golden.adapter("lora"), { baseModelName: "olmoe-a", rescaler: ones });
  const rescalers = [8, 4, 2, 1].map((topK) => ({ topK, factors: [...rescaler] }));
  writeFileSync(join(adapter, "rescalers.json"), JSON.stringify({ rescalers }));
  const words = ["eval", "--model", goldenFolder, "--tokens", join(goldenFolder, "expected.json"), "--json"];
  for (const [losses, more] of [
    [expected.loss_base, []],
    [expected.loss_lora, ["--adapter", adapter]],
  ] as const) {
    const { code, out, err } = await runFlame(...words, ...more);
    assert.equal(code, 0, err);
    for (const { budget, loss } of JSON.parse(out).evaluations) {
      assert.ok(Math.abs(loss - losses[budget]!) < 1e-5, `k = ${budget}: loss ${loss}, expected ${losses[budget]}`);
    }
  }
});
