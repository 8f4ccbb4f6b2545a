/** What tasks write of their parameters, and read again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { digits, pictures } from "../../../src/data/images/source.ts";
import { instructions } from "../../../src/data/source.ts";
import { table } from "../../../src/data/tables/source.ts";
import { defaultWeightsCache } from "../../../src/model/formats/prepare-weights.ts";
import { embeddedModel } from "../../../src/run/package.ts";
import { taskFieldsOf } from "../../../src/scenario/schema.ts";
import { kindOf } from "../../../src/tasks/open/kinds.ts";
import type { DataSource } from "../../../src/tasks/sources.ts";
import type { TaskShape } from "../../../src/tasks/task.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { tabular } from "../../support/tabular-run.ts";

async function opened(task: object, source: DataSource, shape: TaskShape = {}) {
  const { data } = tabular({ task: task as never });
  const options = { name: "stored", seed: 1, shape, timingOnly: false, embedded: embeddedModel() };
  return kindOf(data.task.type).open(taskFieldsOf(data), {
    ...options,
    data: { source, heldOut: 0.2 },
    cache: defaultWeightsCache(),
  });
}

const text = instructions({ examples: 20 });
for (const [name, task, source, shape] of [
  ["tabular", { type: "tabular" }, table("wine")],
  ["vision", { type: "vision", network: { type: "mlp", hidden: [8] } }, digits()],
  ["vision, three members", { type: "vision", network: { type: "cnn", channels: [3] } }, digits(), { members: 3 }],
  ["coloured", { type: "coloured", heads: 3, representation: [4] }, digits()],
  ["two-view", { type: "two-view" }, digits()],
  ["restore", { type: "restore" }, pictures({ examples: 4, side: 8 })],
  ["refactor", { type: "refactor" }, text],
  ["pregating", { type: "pregating" }, text],
] as [string, object, DataSource, TaskShape?][]) {
  test(`parameters come back to the bit: ${name}`, async (t) => {
    const folder = temporaryFolder(t);
    const { save, read, layout, spec } = await opened(task, source, shape);
    const draws = new Rng(1).at("parameters").at(0);
    const parameters = Float32Array.from({ length: layout.size }, () => draws.normal());
    save(folder, parameters, (await spec()).spec, name);
    assert.deepEqual(Buffer.from(read(folder).buffer), Buffer.from(parameters.buffer));
  });
}

test("a model of other classes is refused by the field that differs", async (t) => {
  const folder = temporaryFolder(t);
  const wine = await opened({ type: "tabular" }, table("wine"));
  wine.save(folder, new Float32Array(wine.layout.size), (await wine.spec()).spec, "wine");
  const iris = await opened({ type: "tabular" }, table("iris"));
  assert.throws(() => iris.read(folder), { name: "InputError", message: /tabular_config.json: classes\[0\] is/ });
});
