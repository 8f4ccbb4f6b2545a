/** Clients that keep examples from training, and have models of their own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { trainingHandlers } from "../../actors/training.ts";
import { type ClientId, clientId } from "../../src/base/ids.ts";
import { type Batch, idsOf } from "../../src/data/batches.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import { run } from "../../src/run/run.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import { createEngine } from "../../src/tasks/open/create-engine.ts";
import type { EvaluationJob, TrainingEngine, TrainJob } from "../../src/tasks/training-engine.ts";
import { folderOfFile } from "../support/folders.ts";
import { training } from "../support/scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";

const model = tinyModel(folderOfFile());

interface Seen {
  readonly trained: TrainJob[];
  readonly evaluated: EvaluationJob[];
  prepared: Prepared | null;
}

/** Trains for real on this thread, and keeps what was asked for. */
const watching = (seen: Seen) => (prepared: Prepared) => {
  seen.prepared = prepared;
  const { setup, spec } = prepared.training!;
  const open = async (): Promise<TrainingEngine> => {
    const engine = await createEngine({ task: spec });
    return {
      name: engine.name,
      trainCohort(jobs) {
        seen.trained.push(...jobs);
        return engine.trainCohort(jobs);
      },
      evaluate(job) {
        seen.evaluated.push(job);
        return engine.evaluate(job);
      },
      dispose: () => engine.dispose(),
    };
  };
  return new InlinePool(trainingHandlers(() => setup, open));
};

const rowsOf = (batches: readonly Batch[]): string[] =>
  batches.flatMap(({ rows, length, inputs, lengths }) =>
    Array.from({ length: rows }, (_, row) =>
      idsOf({ inputs })
        .subarray(row * length, row * length + lengths[row]!)
        .join(),
    ).filter((text) => text !== ""),
  );

test("what a client keeps is the same in every round, is never trained on, and judges its own model in the end", async () => {
  const seen: Seen = { trained: [], evaluated: [], prepared: null };
  const scenario = training(model, {
    strategy: { type: "fedmoe", warmUp: 1, patience: 1, validation: 0.3 },
    rounds: { count: 4, cohort: 12, deadline: 60_000, minUpdates: 2 },
  });
  const { rows } = await run(scenario, { out: null, pool: watching(seen) });
  const { fleet } = seen.prepared!;

  const kept = new Map<string, Set<string>>();
  for (const { batches, method } of seen.trained) {
    const own = rowsOf(method!.validate!.batches);
    const key = own.toSorted().join("|");
    const trained = new Set(rowsOf(batches));
    const before = kept.get(key);
    if (before !== undefined) assert.deepEqual(trained, before, "the same split in every round");
    kept.set(key, trained);
    assert.ok(own.every((text) => !trained.has(text) || rowsOf(batches).length === 1));
  }
  assert.ok(kept.size < seen.trained.length, "somebody took part twice");

  const clients = rows.at(-1)!.clients!;
  assert.ok(clients.length > 0);
  assert.ok(rows.slice(0, -1).every((row) => row.clients === undefined));
  for (const { client, examples } of clients) {
    const all = fleet.examples[numberOf(client)]!;
    assert.equal(examples, all === 1 ? 1 : Math.min(all - 1, Math.max(1, Math.round(0.3 * all))));
  }
  const personal = seen.evaluated.filter(({ models }) => models[0]!.variant.masked === 1);
  assert.equal(personal.length, clients.length);
  for (const { models, batches } of personal) {
    const bias = models[0]!.inputs!.routerBias as Float32Array;
    assert.ok(bias.some((value) => value === 0));
    assert.ok(kept.has(rowsOf(batches).toSorted().join("|")), "on what the client keeps");
  }
  assert.ok(clients.some(({ loss, sharedLoss }) => loss !== sharedLoss));
});

test("a scenario may have every client keep examples, which nobody trains on and which judge what its budget runs", async () => {
  const seen: Seen = { trained: [], evaluated: [], prepared: null };
  const { data } = training(model).data;
  const scenario = training(model, {
    data: { ...data, heldOutPerClient: 0.25 },
    strategy: { type: "fedavg" },
    rounds: { count: 1, cohort: 8, deadline: 60_000 },
  });
  const { rows } = await run(scenario, { out: null, pool: watching(seen) });
  const { size, examples, budget } = seen.prepared!.fleet;
  const clients = rows.at(-1)!.clients!;
  assert.equal(clients.length, size);
  const ofClients = seen.evaluated.slice(-size);
  const trained = new Set(seen.trained.flatMap(({ batches }) => rowsOf(batches)));
  for (const [at, client] of clients.entries()) {
    const all = examples[at]!;
    assert.equal(client.examples, all === 1 ? 1 : Math.min(all - 1, Math.max(1, Math.round(0.25 * all))));
    assert.ok(client.loss > 0 && client.sharedLoss === undefined);
    const { models, batches } = ofClients[at]!;
    assert.equal(models[0]!.variant.topK, budget[at]);
    assert.ok(all === 1 || rowsOf(batches).every((text) => !trained.has(text)));
  }
});

test("what clients keep shortens their training, with a plan or without", async () => {
  const { data } = training(model).data;
  const times = async (heldOutPerClient?: number): Promise<number[]> => {
    const ends: number[] = [];
    for (const strategy of [{ type: "fedavg" }, { type: "fedprox" }] as const) {
      const changed = heldOutPerClient === undefined ? data : { ...data, heldOutPerClient };
      const fleet = [{ name: "slow", clients: 2, budget: 1, tokensPerSecond: 1, uplink: 1e9, latency: 0 }];
      const rounds = { count: 1, cohort: 2 };
      const { virtualTime } = await run(training(model, { data: changed, fleet, rounds, timingOnly: true, strategy }), {
        out: null,
      });
      ends.push(virtualTime);
    }
    return ends;
  };
  const [whole, part] = [await times(), await times(0.25)];
  assert.equal(whole[0], whole[1]);
  for (const [at, time] of part.entries()) {
    assert.ok(Math.abs(time / whole[at]! - 0.75) < 0.001, `${time} of ${whole[at]}`);
  }
});

const numberOf = (name: string): ClientId => clientId(Number(/\d+$/.exec(name)![0]));
