/** What the server makes of the updates it has accepted, with numbers to check by hand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Aggregated, aggregate } from "../../../actors/learning.ts";
import { serverRef } from "../../../actors/protocol.ts";
import type { Trained } from "../../../actors/recipes.ts";
import { Roster } from "../../../actors/roster.ts";
import { type Accepted, draftOf, newServer, type ServerServices } from "../../../actors/server-state.ts";
import { replaceAll } from "../../../actors/storage.ts";
import { clientId, participationId, round } from "../../../src/base/ids.ts";
import { millis, minutes } from "../../../src/base/units.ts";
import type { Vectors } from "../../../src/fl/plan.ts";
import { synchronous } from "../../../src/fl/policies/registry.ts";
import { RescalerBook } from "../../../src/fl/rescaler.ts";
import { uniform } from "../../../src/fl/samplers/registry.ts";
import { fedavg, fedavgm, flame } from "../../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../../src/fl/strategy.ts";
import { makeFleet } from "../../support/fl-fleet.ts";
import { assertClose, elementsOf, free, layout, setting, task } from "../../support/fl-updates.ts";
import { TurnLab } from "../../support/turns.ts";

/** What one client sent. Clients have budget 2; participation i is that of client i. */
interface Sent {
  readonly client: number;
  readonly examples?: number;
  /** Added to every element of the adapter, or to the first alone. */
  readonly delta?: number;
  readonly first?: number;
  /** Of the three experts of either layer, for ten tokens. */
  readonly counts?: readonly number[];
  readonly loss?: number;
  readonly targets?: number;
  readonly factor?: number;
  readonly discount?: number;
}

interface Before {
  readonly adapter?: Float32Array;
  readonly vectors?: Vectors;
  readonly minUpdates?: number;
  readonly settingIn?: ServerServices["method"]["settingIn"];
}

type Counted = Aggregated & { readonly rescalers: RescalerBook };

/** @param sent in the order of arrival */
async function aggregated(
  strategy: Strategy,
  sent: readonly Sent[],
  { adapter = new Float32Array(layout.size), vectors = {}, minUpdates = 1, settingIn = () => setting }: Before = {},
): Promise<Counted> {
  const lab = new TurnLab();
  const examples = new Map(sent.map((entry) => [entry.client, entry.examples ?? 1]));
  const fleet = makeFleet(8, { examples: (row) => examples.get(row) ?? 1 });
  fleet.budget.fill(2);
  const rescalers = new RescalerBook({ layers: 2, topK: 2, init: "one", scope: "local" });
  const learning = { task, strategy, rescalers, budgets: [2], initial: () => adapter, minUpdates };
  const services: ServerServices = {
    rounds: 1,
    policy: synchronous({ cohort: sent.length }),
    sampler: uniform(),
    fleet,
    roster: new Roster(fleet.size),
    environment: {
      isAvailable: () => true,
      nextAvailability: () => null,
      traffic: { downloadSent: 0, downloadReceived: 0, uploadSent: 0, uploadReceived: 0 },
    },
    leastClients: 1,
    minimumGap: 0,
    patience: minutes(1),
    evaluateEvery: 1,
    downloadBytes: 0,
    method: { strategy, settingIn, charge: free, programs: () => ({ step: {} }) },
    learning,
  };
  const ctx = lab.turn(0, serverRef, services);
  const base = ctx.put(adapter);
  const draft = draftOf({
    ...newServer(base),
    vectors: replaceAll(vectors, {}, {}, ctx),
    accepted: sent.map(
      ({ client, discount = 1 }, at): Accepted => ({
        participation: participationId(client),
        client: clientId(client),
        round: round(1),
        sentAt: millis(0),
        base,
        result: { ref: "pledge", id: at, bytes: 0 },
        discount,
      }),
    ),
  });
  for (const [at, entry] of sent.entries()) lab.results.set(at, trainedBy(entry, adapter));
  return { ...(await aggregate(draft, ctx, learning)), rescalers };
}

function trainedBy(
  { delta = 0, first = 0, counts = [10, 5, 5], loss = 1, targets = 10, factor = 1 }: Sent,
  base: Float32Array,
): Trained {
  const values = base.map((value) => value + delta);
  values[0]! += first;
  return {
    values,
    personal: Float32Array.of(factor, factor),
    counts: Float64Array.from([...counts, ...counts]),
    units: 10,
    steps: 1,
    found: {},
    firstLoss: loss,
    meanLoss: loss,
    targets,
  };
}

/** The first element of an expert in the next adapter. */
const at = ({ next }: Aggregated, expert: number): number => elementsOf(next!.parameters, expert)[0]!;
const bits = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);
const weightsOf = ({ counts }: Aggregated): number[] => counts.map(({ weight }) => weight);

test("the adapter moves by the mean of the deltas, weighted by examples", async () => {
  // (1·4 + 3·8) / 4 = 7
  const found = await aggregated(fedavg(), [
    { client: 0, examples: 1, delta: 4, loss: 1, targets: 30 },
    { client: 1, examples: 3, delta: 8, loss: 3, targets: 10 },
  ]);
  assert.deepEqual([...found.next!.parameters], new Array(layout.size).fill(7));
  assert.deepEqual(weightsOf(found), [0.25, 0.75]);
  // Per response token, whatever the weights: (30·1 + 10·3) / 40.
  assert.equal(found.trainLoss, 1.5);
  assert.deepEqual([...found.expertTokens!], [20, 10, 10, 20, 10, 10]);
});

test("an expert listens most to the client whose tokens reached it", async () => {
  // Frequencies of expert 0 are 10/10 and 5/10, so (1·3 + 0.5·6) / 1.5 = 4; of expert 2 both are 5/10.
  const found = await aggregated(flame({ frequencyExponent: 1 }), [
    { client: 0, delta: 3, counts: [10, 5, 5] },
    { client: 1, delta: 6, counts: [5, 10, 5] },
  ]);
  for (const [expert, expected] of [4, 5, 4.5, 4, 5, 4.5].entries()) assertClose(at(found, expert), expected);
  // Shares 2/3, 1/3 and 1/2 of the three experts.
  for (const weight of weightsOf(found)) assertClose(weight, 0.5);
});

test("an expert that no token reached keeps its values bit for bit", async () => {
  const adapter = Float32Array.from({ length: layout.size }, (_, i) => [0.1, -0, 1e-40, 1 / 3][i % 4]!);
  const counts = [10, 10, 0];
  for (const strategy of [flame(), fedavg(), fedavg({ absentPolicy: "renormalise" })]) {
    const { next } = await aggregated(
      strategy,
      [
        { client: 0, delta: 1, counts },
        { client: 1, delta: 2, counts },
      ],
      { adapter },
    );
    for (const expert of [2, 5]) {
      for (const { start, end } of layout.ranges(expert)) {
        assert.deepEqual(bits(next!.parameters).slice(start, end), bits(adapter).slice(start, end), strategy.name);
      }
    }
    assert.notEqual(elementsOf(next!.parameters, 0)[0], elementsOf(adapter, 0)[0]);
  }
});

test("updates fold in order of participation, whoever arrived first", async () => {
  const order: number[] = [];
  const strategy = fedavg();
  const watched: Strategy = {
    ...strategy,
    fold(sum, update, ...rest) {
      order.push(update.participation);
      strategy.fold(sum, update, ...rest);
    },
  };
  const sent: Sent[] = [0.1, 0.7, 1e-3, 3.3].map((delta, client) => ({
    client,
    delta,
    examples: client + 1,
    loss: delta,
  }));
  const inOrder = await aggregated(watched, sent);
  const shuffled = await aggregated(watched, [sent[2]!, sent[0]!, sent[3]!, sent[1]!]);
  assert.deepEqual(order, [0, 1, 2, 3, 0, 1, 2, 3]);
  assert.deepEqual(bits(shuffled.next!.parameters), bits(inOrder.next!.parameters));
  assert.deepEqual(shuffled.counts, inOrder.counts);
  assert.equal(shuffled.trainLoss, inOrder.trainLoss);
});

test("a stale update moves the adapter less, or lets the others make up for it", async () => {
  const sent: Sent[] = [
    { client: 0, delta: 4 },
    { client: 1, delta: 8, discount: 0.5 },
  ];
  // (4 + 0.5·8) / 2, and (1·4 + 0.5·8) / 1.5.
  const damped = await aggregated(fedavg({ discounts: "damp" }), sent);
  assert.equal(at(damped, 0), 4);
  const reweighed = await aggregated(fedavg({ discounts: "reweigh" }), sent);
  assertClose(at(reweighed, 0), 16 / 3);
  for (const { counts } of [damped, reweighed]) {
    for (const [i, share] of [2 / 3, 1 / 3].entries()) assertClose(counts[i]!.weight, share);
  }
});

test("a bound on the norm shortens a long delta and leaves a short one", async () => {
  // ‖Δ‖ is 6 and 2: with a bound of 3 the first counts half, (3 + 2) / 2.
  const found = await aggregated(fedavg({ clipNorm: 3 }), [
    { client: 0, first: 6 },
    { client: 1, first: 2 },
  ]);
  assert.equal(found.next!.parameters[0], 2.5);
});

test("the moments of a server optimizer go into its next step", async () => {
  // v = 0.5·(−2) − 2 = −3, and the adapter moves by 3.
  const strategy = fedavgm({ momentum: 0.5 });
  const first = await aggregated(strategy, [{ client: 0, delta: 2 }]);
  assert.equal(at(first, 0), 2);
  const { parameters: adapter, vectors } = first.next!;
  const second = await aggregated(strategy, [{ client: 0, delta: 2 }], { adapter, vectors });
  assert.equal(second.next!.vectors.v![0], -3);
  assert.equal(at(second, 0), 5);
});

test("an update that is not fit to be counted is refused, and the others are counted without it", async () => {
  const found = await aggregated(fedavg(), [
    { client: 0, delta: 4, loss: 1, factor: 2 },
    { client: 1, delta: Number.NaN, loss: 5, factor: 9 },
    { client: 2, delta: 100, counts: [10, 10, 10], loss: 5, factor: 9 },
    { client: 3, delta: 8, loss: 3, factor: 4 },
  ]);
  assert.equal(at(found, 0), 6);
  assert.deepEqual(
    found.counts.map(({ client }) => client),
    [0, 3],
  );
  assert.equal(found.trainLoss, 2);
  assert.deepEqual(
    [...found.refusals],
    [
      [1, "not-finite"],
      [2, "activations of layer 0 sum to 30, expected topK · tokens = 20"],
    ],
  );
  assert.deepEqual([...found.rescalers.forBudget(2)], [3, 3]);
});

test("counted updates report their rescalers, and a budget goes on from their mean by examples", async () => {
  // (1·2 + 3·4) / 4
  const { rescalers } = await aggregated(fedavg(), [
    { client: 1, examples: 3, factor: 4 },
    { client: 0, examples: 1, factor: 2 },
  ]);
  assert.deepEqual([...rescalers.forBudget(2)], [3.5, 3.5]);
  assert.deepEqual([...rescalers.forClient(clientId(1), 2)], [4, 4]);
});

test("with fewer good updates than a round needs nothing is counted, and no rescaler is taken up", async () => {
  const found = await aggregated(
    fedavg(),
    [
      { client: 0, delta: 4, factor: 2 },
      { client: 1, delta: Number.NaN },
    ],
    { minUpdates: 2 },
  );
  assert.equal(found.next, null);
  assert.deepEqual(found.counts, []);
  assert.equal(found.trainLoss, null);
  assert.equal(found.expertTokens, null);
  assert.deepEqual([...found.refusals.keys()], [1]);
  assert.deepEqual([...found.rescalers.forBudget(2)], [1, 1]);
});

test("an update is folded at the learning rate of the round in which its client was invited", async () => {
  const plain = fedavg();
  const rates: number[] = [];
  const strategy: Strategy = {
    ...plain,
    reply: (_trained, _plan, _client, { rate }) => {
      rates.push(rate);
      return {};
    },
    fold: (sum, update, at, where) => {
      rates.push(at.rate);
      plain.fold(sum, update, at, where);
    },
    finish: (sum, server, at, where) => {
      rates.push(at.rate);
      return plain.finish(sum, server, at, where);
    },
  };
  // Invited in round 1; the draft is in round 0, as an asynchronous server's is in a later one.
  await aggregated(strategy, [{ client: 0, delta: 1 }], { settingIn: (of) => ({ ...setting, rate: 10 + of }) });
  assert.deepEqual(rates, [11, 11, 10]);
});
