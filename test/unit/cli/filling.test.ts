import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { filling } from "../../../src/cli/commands/model/filling.ts";
import { terminal } from "../../../src/cli/screen/terminal.ts";
import { weightsInMemory } from "../../../src/model/base-weights.ts";
import { writeCheckpoint } from "../../../src/model/formats/write-checkpoint.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { needs } from "../../support/needs.ts";
import { randomWeights, smallModel } from "../../support/small-model.ts";

test("Ctrl-C ends work that lets no event in, and nothing is left of it", {
  skip: process.platform === "win32" && needs.signals,
}, async (t) => {
  const to = join(temporaryFolder(t), "model");
  const { err } = terminal;
  const said: string[] = [];
  terminal.err = { write: (text) => said.push(text) > 0 };
  t.after(() => {
    terminal.err = err;
    process.exitCode = undefined;
  });
  await filling(to, 1e9, async ({ onWritten }) => {
    writeCheckpoint(to, weightsInMemory(smallModel, randomWeights(smallModel)), {
      onProgress() {
        process.kill(process.pid, "SIGTERM");
        // A busy loop, which the event loop waits for.
        const begun = performance.now();
        while (performance.now() - begun < 20_000) onWritten(1);
      },
    });
  });
  assert.match(said.join(""), /stopped; nothing is left/);
  assert.equal(process.exitCode, 143);
  assert.ok(!existsSync(to));
});
