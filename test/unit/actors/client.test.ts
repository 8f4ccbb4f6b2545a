import assert from "node:assert/strict";
import { test } from "node:test";
import { attacked, dated } from "../../../actors/attack.ts";
import { type ClientServices, type ClientState, client, newClient } from "../../../actors/client.ts";
import { type ClientMessage, clientRef } from "../../../actors/protocol.ts";
import type { TrainRecipe } from "../../../actors/recipes.ts";
import { Roster } from "../../../actors/roster.ts";
import { evaluationShards } from "../../../actors/training.ts";
import { clientId, participationId, round } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { millis, seconds } from "../../../src/base/units.ts";
import type { Next } from "../../../src/runtime/actor.ts";
import { sentBy, TurnLab } from "../../support/turns.ts";

const state = newClient(7);
const services: ClientServices = {
  keepsRescaler: true,
  uploadBytes: 1_234,
  variantOf: () => ({ topK: 2 }),
  trainingTimeOf: () => seconds(30),
  programs: () => ({ step: {} }),
  attackOf: () => null,
};

function turn(from: ClientState, message: ClientMessage, changes: Partial<ClientServices> = {}) {
  const lab = new TurnLab();
  const ctx = lab.turn(0, clientRef(clientId(7)), { ...services, ...changes });
  const next = client.receive(from, message, ctx) as Next<ClientState, ClientMessage>;
  return { ...next, recipes: ctx.recipes };
}

const train = (rescaler: Float32Array | null): ClientMessage => ({
  type: "train",
  round: round(3),
  participation: participationId(11),
  adapter: { ref: "blob", digest: "0".repeat(64), bytes: 8 },
  rescaler,
});

const acknowledge = (rescaler: Float32Array): ClientMessage => ({
  type: "acknowledge",
  round: round(3),
  participation: participationId(11),
  rescaler,
});

test("training takes the time the device needs, acknowledgements none", () => {
  assert.equal(client.cost!(state, train(null), services), 30_000);
  assert.equal(client.cost!(state, acknowledge(Float32Array.of(1)), services), 0);
});

test("the reply is a promise of known size; nothing is computed", () => {
  const { effects, recipes } = turn(state, train(Float32Array.of(1, 1)));
  assert.deepEqual(sentBy(effects), [
    {
      to: "server/0",
      message: { type: "update", round: 3, participation: 11, result: { ref: "pledge", id: 0, bytes: 1_234 } },
    },
  ]);
  const { client: who, variant, rescaler } = recipes[0]!.job as TrainRecipe;
  assert.deepEqual([who, variant, [...rescaler]], [7, { topK: 2 }, [1, 1]]);
});

test("a client that is asked to report first sends its update when it is answered, and remembers nothing for it", () => {
  const method = { order: null, uploadBytes: 500, reportBytes: 16, takes: millis(41) };
  const asked: ClientMessage = { ...train(Float32Array.of(1, 1)), method } as ClientMessage;
  assert.equal(client.cost!(state, asked, services), 41);
  const { effects, state: after } = turn(state, asked);
  const result = { ref: "pledge", id: 0, bytes: 16 } as const;
  const named = { round: round(3), participation: participationId(11) };
  assert.deepEqual(sentBy(effects), [{ to: "server/0", message: { type: "report", ...named, client: 7, result } }]);
  const answer: ClientMessage = { type: "answer", ...named, result, uploadBytes: 500 } as ClientMessage;
  assert.equal(client.cost!(after!, answer, services), 0);
  const answered = turn(after!, answer);
  assert.deepEqual(sentBy(answered.effects), [
    { to: "server/0", message: { type: "update", ...named, result: { ...result, bytes: 500 } } },
  ]);
  assert.equal(answered.state, after);
});

test("a client's own rescaler changes when an update was counted, and goes into the next training", () => {
  const joined = turn(state, train(Float32Array.of(1, 1))).state!;
  assert.deepEqual([...joined.rescaler!], [1, 1]);
  const thanked = turn(joined, acknowledge(Float32Array.of(1.25, 0.75))).state!;
  const { recipes } = turn(thanked, train(Float32Array.of(9, 9)));
  assert.deepEqual([...(recipes[0]!.job as TrainRecipe).rescaler], [1.25, 0.75]);
  // Never thanked: it begins where it joined.
  const again = turn(joined, train(Float32Array.of(9, 9)));
  assert.deepEqual([...(again.recipes[0]!.job as TrainRecipe).rescaler], [1, 1]);
});

test("where the server averages rescalers, clients take what it sends", () => {
  const own = { ...state, rescaler: Float32Array.of(2, 2) };
  const { recipes } = turn(own, train(Float32Array.of(1.5, 1.5)), { keepsRescaler: false });
  assert.deepEqual([...(recipes[0]!.job as TrainRecipe).rescaler], [1.5, 1.5]);
});

test("attackers change what they send by their formula", () => {
  const base = Float32Array.of(1, 1, 1);
  const honest = { values: Float32Array.of(1.5, 1, 0.5) };
  const draws = () => new Rng(1).at("attack").at(0);
  const send = (attack: Parameters<typeof attacked>[2]) => [...attacked(honest, base, attack, draws()).values];
  assert.deepEqual(send({ type: "sign-flip", factor: 1 }), [0.5, 1, 1.5]);
  assert.deepEqual(send({ type: "scaling", factor: 10 }), [6, 1, -4]);
  assert.equal(send({ type: "non-finite" }).filter(Number.isNaN).length, 1);
  assert.notDeepEqual(send({ type: "noise", factor: 1 }), [...honest.values]);
  assert.deepEqual([...honest.values], [1.5, 1, 0.5], "the honest update is left alone");
});

test("a client with a stale model learns from what it was sent before, and holds no more models than that takes", () => {
  const lab = new TurnLab();
  const stale: ClientServices = { ...services, attackOf: () => ({ type: "stale", lag: 2 }) };
  let from = state;
  const used = [1, 2, 3, 4, 5].map((version) => {
    const adapter = { ref: "blob", digest: `${version}`.repeat(64), bytes: 8 } as const;
    const ctx = lab.turn(0, clientRef(clientId(7)), { ...stale, keepsRescaler: false });
    const message = { ...train(Float32Array.of(version)), adapter } as ClientMessage;
    from = (client.receive(from, message, ctx) as Next<ClientState, ClientMessage>).state!;
    const recipe = ctx.recipes[0]!.job as TrainRecipe;
    assert.deepEqual(recipe.adapter, adapter, "the update is one of the model it was just sent");
    return [Number((recipe.stale ?? recipe.adapter).digest[0]), recipe.rescaler[0]];
  });
  assert.deepEqual(used, [
    [1, 1],
    [1, 1],
    [1, 1],
    [2, 2],
    [3, 3],
  ]);
  assert.equal(lab.held(), 2);
});

test("what was learned from an old model arrives as a change of today's", () => {
  const [old, today] = [Float32Array.of(1, 2), Float32Array.of(10, 20)];
  assert.deepEqual([...dated({ values: Float32Array.of(1.5, 1) }, old, today).values], [10.5, 19]);
});

test("evaluation is cut into shards that cover every batch once, whatever the number of workers", () => {
  assert.deepEqual(evaluationShards({ evaluation: new Uint32Array(100), batchSize: 10 }), [
    { from: 0, until: 4 },
    { from: 4, until: 8 },
    { from: 8, until: 10 },
  ]);
});

test("a roster that was written down goes on as if nothing had been", () => {
  const roster = new Roster(10);
  roster.invited(clientId(2), round(1), participationId(0));
  roster.invited(clientId(5), round(1), participationId(1));
  roster.released(clientId(2), participationId(0));
  roster.answered(clientId(2), 500);
  roster.counted(clientId(2), round(1), 2.5);
  const copy = new Roster(10);
  copy.restore(structuredClone(roster.snapshot()));
  assert.deepEqual(copy.history, roster.history);
  assert.deepEqual([copy.busy, copy.distinctCounted], [1, 1]);
  assert.equal(copy.isIdle(clientId(5)), false);
  copy.released(clientId(5), participationId(99));
  assert.equal(copy.isIdle(clientId(5)), false, "an older part that ends says nothing about the present one");
});
