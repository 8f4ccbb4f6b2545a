/** Whether FLood's scores tell foreign examples from others, and what becomes of the client that has them. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Rng } from "../../src/base/random.ts";
import { evaluationBatches } from "../../src/data/batches.ts";
import { images } from "../../src/data/images/source.ts";
import { partitionBy } from "../../src/data/partition.ts";
import { fedavg } from "../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import { run } from "../../src/run/run.ts";
import { defineScenario } from "../../src/scenario/define.ts";
import { createEngine } from "../../src/tasks/open/create-engine.ts";
import { folderOfFile } from "../support/folders.ts";
import { onThisThread } from "../support/tabular-run.ts";

const folder = folderOfFile();
const [clients, count, classes, pixels] = [6, 1_800, 10, 16];

/** Ten clusters of grey squares; every sixth example is client 0's, and of these every second is foreign: a cluster apart, of any class. */
function clusters(seed: number): string {
  const rng = new Rng(seed);
  const centres = Array.from({ length: classes + 1 }, (_, c) => {
    const draws = rng.at("centre", c).at(0);
    return Array.from({ length: pixels }, () => 128 + 25 * draws.normal());
  });
  const draws = rng.at("examples").at(0);
  const labels = Uint8Array.from({ length: count }, () => draws.below(classes));
  const bytes = Uint8Array.from({ length: count * pixels }, (_, i) => {
    const at = Math.floor(i / pixels);
    const value = centres[isForeign(at) ? classes : labels[at]!]![i % pixels]! + 20 * draws.normal();
    return Math.min(255, Math.max(0, Math.round(value)));
  });
  const content = Buffer.concat([bytes, labels]);
  const name = `clusters-${seed}`;
  writeFileSync(join(folder, `${name}.bin`), content);
  const about = {
    ...{ name, count, shape: [4, 4], dtype: "uint8", layout: "row-major" },
    images: { file: `${name}.bin`, offset: 0, bytes: bytes.length },
    labels: { file: `${name}.bin`, offset: bytes.length, bytes: count },
    classes: Array.from({ length: classes }, (_, c) => String(c)),
    sha256: createHash("sha256").update(content).digest("hex"),
  };
  const path = join(folder, `${name}.json`);
  writeFileSync(path, JSON.stringify(about));
  return path;
}

const isForeign = (at: number): boolean => at % clients === 0 && at % (2 * clients) === 0;

type Detector = "energy" | "softmax";

/** Of each round w of the client with foreign examples ÷ its p; of the last model the chance that a clean example scores higher. */
async function played(seed: number, detector: Detector) {
  const strategy = fedavg({ flood: { schedule: "off", alpha: 0.5, detector } });
  const found: (readonly [client: number, examples: number, score: number])[] = [];
  let parameters = new Float32Array(0);
  const watched: Strategy<Parameters<typeof strategy.fold>[0]> = {
    ...strategy,
    name: "watched",
    spec: { type: "watched" },
    fold(sum, update, setting, at) {
      found.push([update.client, update.examples, update.sent.floodScore as number]);
      return strategy.fold(sum, update, setting, at);
    },
    async finish(sum, server, setting, at) {
      const next = await strategy.finish(sum, server, setting, at);
      ({ parameters } = next as { parameters: Float32Array<ArrayBuffer> });
      return next;
    },
  };
  let training: Prepared["training"] = null;
  const scenario = defineScenario({
    name: "flood",
    seed,
    task: { type: "vision", network: { type: "mlp", hidden: [32] } },
    data: {
      source: images(clusters(seed)),
      partition: partitionBy(({ examples }) =>
        Array.from({ length: clients }, (_, client) =>
          examples.filter(({ index }) => index % clients === client).map(({ index }) => index),
        ),
      ),
      heldOut: 0.1,
    },
    fleet: [{ name: "phone", clients, budget: 1, tokensPerSecond: 50, uplink: 1e6 }],
    rounds: { count: 20, cohort: clients },
    training: { epochs: 2, batchSize: 16, learningRate: 1e-2 },
    strategy: watched,
    evaluateEvery: 20,
    evaluationExamples: 100,
  });
  await run(scenario, {
    out: null,
    pool(prepared) {
      training = prepared.training;
      return onThisThread(prepared);
    },
  });
  const relative = Array.from({ length: 20 }, (_, round) => {
    const own = found.slice(round * clients, (round + 1) * clients);
    const [size, score] = [1, 2].map((of) => own.reduce((sum, one) => sum + one[of]!, 0)) as [number, number];
    const [, examples, its] = own.find(([client]) => client === 0)!;
    return (examples / size + (0.5 * its) / score) / 1.5 / (examples / size);
  });
  return { relative, apart: await apart(training!, parameters, detector) };
}

/** The area under the curve: over pairs of a clean and a foreign example of client 0. */
async function apart({ setup, spec }: NonNullable<Prepared["training"]>, parameters: Float32Array, detector: Detector) {
  const engine = await createEngine({ task: spec });
  const indices = Uint32Array.from({ length: count / clients }, (_, at) => at * clients);
  const scores: { readonly foreign: boolean; readonly score: number }[] = [];
  try {
    for (const at of indices) {
      const [batch] = evaluationBatches(setup.data, Uint32Array.of(at), { batchSize: 1, length: 1 });
      const model = { parameters, personal: new Float32Array(0), variant: engine.task.budget.variant(1) };
      const logits = [...(await engine.logits({ ...model, batch: batch! }))];
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
      const score = detector === "energy" ? Math.log(total) : Math.exp(Math.max(...logits)) / total;
      scores.push({ foreign: isForeign(at), score });
    }
  } finally {
    engine.dispose();
  }
  const [foreign, clean] = [true, false].map((is) => scores.filter((one) => one.foreign === is));
  const wins = clean!.map(({ score }) => foreign!.filter((one) => one.score < score).length / foreign!.length);
  return wins.reduce((sum, share) => sum + share, 0) / wins.length;
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

test("scores tell foreign examples from others once the model has fitted, and the client that has them weighs less", async (t) => {
  for (const [detector, seeds] of [
    ["energy", [1, 2, 3]],
    ["softmax", [1, 2]],
  ] as const) {
    for (const seed of seeds) {
      const { relative, apart } = await played(seed, detector);
      const [first, last] = [mean(relative.slice(0, 3)), mean(relative.slice(-3))];
      t.diagnostic(
        `${detector}, seed ${seed}: apart ${apart.toFixed(2)}, w ÷ p ${first.toFixed(3)} to ${last.toFixed(3)}`,
      );
      assert.ok(apart > 0.6);
      assert.ok(last < first - (detector === "energy" ? 0.005 : 0.04));
    }
  }
});
