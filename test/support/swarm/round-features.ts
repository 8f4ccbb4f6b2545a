/** Features of the server's rounds, and of training. */
import type { Draws } from "../../../src/base/random.ts";
import { type SmallTask, smallTasks } from "../task-scenarios.ts";
import {
  type Draft,
  type Feature,
  type Fields,
  hour,
  lost,
  minute,
  pick,
  probability,
  second,
  span,
  spread,
  whole,
} from "./features.ts";

const staleness = (draws: Draws): Fields => ({
  staleness: pick(draws, ["polynomial", "constant", "hinge"]),
  maxStaleness: pick(draws, [null, 0, 1, 5]),
  timeout: pick(draws, [null, span(draws, 5 * second, 10 * minute)]),
});

export const roundFeatures: Readonly<Record<string, Feature>> = {
  overSelection: ({ rounds }, draws) => {
    rounds.overSelection = 1 + draws.uniform();
  },
  minUpdates: ({ rounds }, draws) => {
    rounds.minUpdates = whole(draws, 1, rounds.cohort);
  },
  noDeadline: ({ rounds }) => {
    rounds.deadline = null;
  },
  /** An exchange ahead of each update, which can fail, too. */
  preliminary: (draft, draws) => {
    draft.rest.strategy = { type: "otaffl" };
    for (const stage of ["preliminary", "answer"]) draft.faults[stage] = lost(draft, probability(draws, 0.4));
  },
  minimumGap: ({ rounds }, draws) => {
    rounds.minimumGap = whole(draws, 1, 3);
  },
  fedbuff: ({ rounds, clients }, draws) => {
    const concurrency = whole(draws, 1, Math.min(clients, 12));
    rounds.policy = {
      type: "fedbuff",
      concurrency,
      buffer: whole(draws, 1, Math.min(clients, 8)),
      ...staleness(draws),
    };
  },
  fedasync: ({ rounds, clients }, draws) => {
    const concurrency = whole(draws, 1, Math.min(clients, 12));
    rounds.policy = { type: "fedasync", concurrency, mixing: 0.2 + 0.8 * draws.uniform(), ...staleness(draws) };
  },
  semiSynchronous: ({ rounds, clients }, draws) => {
    const concurrency = whole(draws, 1, Math.min(clients, 12));
    rounds.policy = {
      type: "semi-synchronous",
      concurrency,
      period: span(draws, second, 10 * minute),
      minUpdates: whole(draws, 1, Math.min(clients, 5)),
      ...staleness(draws),
    };
  },
  goal: ({ rounds }, draws) => {
    if (rounds.policy !== undefined) return;
    const { cohort, deadline = null, minUpdates = 1, overSelection = 1 } = rounds;
    const goal = whole(draws, Math.min(minUpdates as number, cohort), cohort);
    const least = Math.min(minUpdates as number, goal);
    rounds.policy = { type: "synchronous", cohort, deadline, minUpdates: least, overSelection, goal };
  },
  lateAsStale: ({ rounds }, draws) => {
    if (rounds.policy !== undefined && (rounds.policy as Fields).type !== "synchronous") return;
    const { cohort, deadline = null, minUpdates = 1, overSelection = 1 } = rounds;
    const policy = rounds.policy ?? { type: "synchronous", cohort, deadline, minUpdates, overSelection };
    const { timeout: _, ...how } = staleness(draws);
    rounds.policy = { ...policy, late: "stale", ...how };
  },
  effort: ({ training }, draws) => {
    training.effort = pick(draws, [
      { type: "fit", deadline: span(draws, second, minute) },
      { type: "uniform", probability: draws.uniform(), fixed: draws.bernoulli(0.5) },
      { type: "epochs", from: 1, to: 2 },
    ]);
    if ((training.effort as Fields).type === "epochs") training.epochs = 2;
  },
  calibration: ({ rest }, draws) => {
    const fastest = spread(draws, 100, 10_000);
    rest.calibration = { budgets: [1, 2, 4].map((budget) => ({ budget, tokensPerSecond: fastest / budget ** 0.8 })) };
  },
  sampler: ({ rounds, clients }, draws) => {
    rounds.sampler = pick(draws, [
      { type: "weighted" },
      { type: "round-robin" },
      { type: "power-of-choice", candidates: whole(draws, 1, clients) },
      { type: "oort", exploration: draws.uniform(), paceWindow: whole(draws, 1, 4) },
      { type: "tifl", tiers: whole(draws, 1, 4), interval: whole(draws, 1, 3), credits: pick(draws, [null, 2]) },
    ]);
  },
};

/** Only with training. */
export const trainingFeatures: Readonly<Record<string, Feature>> = {
  strategy: ({ rest }, draws) => {
    rest.strategy = pick(draws, [
      { type: "fedavg" },
      { type: "fedavgm" },
      { type: "fedadam" },
      { type: "fedyogi" },
      { type: "fedadagrad" },
      { type: "mix" },
      { type: "coordinate-median" },
      { type: "trimmed-mean", trim: 0.3 },
      { type: "krum", malicious: 1 },
      { type: "multi-krum", malicious: 1, scope: "adapter" },
    ]);
  },
  clipNorm: ({ rest }, draws) => {
    rest.strategy = { type: "flame", ...(rest.strategy as Fields | undefined), clipNorm: spread(draws, 0.01, 10) };
  },
  attackers: ({ rest, fleet }, draws) => {
    const attack = pick(draws, [
      { type: "sign-flip", factor: 2 },
      { type: "scaling", factor: 5 },
      { type: "noise", factor: 1 },
      { type: "non-finite" },
      { type: "label-flip" },
    ]);
    const tier = draws.bernoulli(0.5) ? { tier: pick(draws, fleet).name } : {};
    rest.attackers = [{ share: draws.uniform(), attack, ...tier }];
  },
  staleModels: ({ rest }, draws) => {
    const attackers = (rest.attackers as readonly Fields[] | undefined) ?? [];
    rest.attackers = [...attackers, { share: draws.uniform(), attack: { type: "stale", lag: whole(draws, 1, 4) } }];
  },
  rescaler: ({ rest }, draws) => {
    rest.rescaler = {
      learn: draws.bernoulli(0.7),
      init: pick(draws, ["one", "ratio"]),
      scope: pick(draws, ["local", "budget", "global"]),
    };
  },
  /** Availability that goes with the labels of a client's data. */
  labelRule: (draft, draws) => {
    const rule = pick(draws, ["YMF", "YFF", "YC"]);
    const beta = lost(draft, pick(draws, [0.1, 0.6]));
    draft.availability.push({ type: "data", rule, beta, slot: span(draws, 10 * second, hour) });
  },
  evaluateSeldom: ({ rest }, draws) => {
    rest.evaluateEvery = whole(draws, 2, 4);
  },
  evaluateAt: ({ rest }, draws) => {
    rest.evaluateAt = [pick(draws, [1, 2, 4])];
  },
  stop: ({ rest }, draws) => {
    rest.stop = { patience: whole(draws, 1, 3), minDelta: pick(draws, [0, 0.01]) };
  },
  epochs: ({ training }, draws) => {
    training.epochs = 2;
    training.maxSteps = whole(draws, 1, 3);
  },
  optimizer: ({ training }, draws) => {
    training.weightDecay = 0.1 * draws.uniform();
    training.clipNorm = pick(draws, [null, 0.1]);
  },
  partition: ({ data }, draws) => {
    data.partition = pick(draws, [
      { type: "iid" },
      { type: "quantity", sigma: 1 },
      { type: "quantity", zipf: 1.1 },
      { type: "shards", categories: 2 },
      { type: "dirichlet", alpha: 0.1, shortage: "fill" },
    ]);
  },
};

/** Only with a real engine: another task than the language model's, with a method made for it. */
export const taskFeatures: Readonly<Record<string, Feature>> = {
  task: (draft, draws) => otherTask(draft, pick(draws, Object.values(smallTasks)), draws),
};

/** Only in a folder. */
export const folderFeatures: Readonly<Record<string, Feature>> = {
  /** On a disk whose clock stands still between its operations, hardly any checkpoint is due by itself. */
  checkpoints: ({ rest }, draws) => {
    rest.checkpoints = { every: whole(draws, 1, 2), keep: whole(draws, 1, 3) };
  },
  /** In one world of a few something is learned, and an adapter left behind. */
  table(draft, draws) {
    if (draws.bernoulli(0.6)) return;
    const { model: _, timingOnly: __, ...rest } = draft.rest;
    draft.rest = rest;
    Object.assign(draft.training, { batchSize: 16, learningRate: 0.1, maxSteps: 2 });
    otherTask(draft, smallTasks.tabular!, draws);
  },
};

function otherTask(draft: Draft, { budgets, strategies, fields }: SmallTask, draws: Draws): void {
  const { task, data } = fields(draft.clients);
  for (const tier of draft.fleet) tier.budget = 1 + draws.below(budgets);
  const { clipNorm } = (draft.rest.strategy as Fields | undefined) ?? {};
  // A calibration is of another model.
  const { rescaler: _, evaluateAt: __, lora: ___, calibration: ____, ...others } = draft.rest;
  const strategy = { ...pick(draws, strategies), ...(clipNorm !== undefined && { clipNorm }) };
  draft.rest = { ...others, task, strategy };
  draft.data = { ...data };
}
