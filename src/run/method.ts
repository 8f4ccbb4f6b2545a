/** The strategy of a run with what it sees of it, its programs as content that workers read, and where it starts. */
import type { Best, Learning, Method } from "../../actors/server-state.ts";
import { evaluationShards } from "../../actors/training.ts";
import { InputError, invariant } from "../base/errors.ts";
import { type ClientId, participationId, round } from "../base/ids.ts";
import { type Problem, show, under } from "../base/problem.ts";
import { Rng } from "../base/random.ts";
import { type Charge, type ChargeOf, chargesBy } from "../fl/charge.ts";
import { rateFactor } from "../fl/local-rate.ts";
import { emptyMemory, type Kind, usual } from "../fl/plan.ts";
import { factsOf as promisesOf } from "../fl/policy.ts";
import { RescalerBook } from "../fl/rescaler.ts";
import type { Strategy } from "../fl/strategy.ts";
import { judged } from "../records/stopping.ts";
import type { BlobStore } from "../runtime/messages/blobs.ts";
import type { BlobRef } from "../runtime/messages/refs.ts";
import { measuredCost } from "../scenario/calibration.ts";
import { policyOf, type Scenario, samplerOf, strategyOf } from "../scenario/define.ts";
import { trainingTimeOf } from "../scenario/effort.ts";
import { factsOf, type TaskType, tasksWith } from "../tasks/facts.ts";
import type { TaskPrograms } from "../tasks/programs.ts";
import type { Scope } from "../tasks/scope.ts";
import { inOrder, type Steps } from "../tasks/steps.ts";
import { activeIn, type Setting, type Variant } from "../tasks/task.ts";
import { stepOptionsOf } from "../tasks/training-step.ts";
import type { Prepared } from "./prepare.ts";

/** Programs of the strategy, held in the blob store from when they are first asked for to the end of the run. */
export class MethodPrograms {
  readonly #blobs: BlobStore;
  readonly #held = new Set<string>();

  constructor(blobs: BlobStore) {
    this.#blobs = blobs;
  }

  hold(text: string): BlobRef {
    const ref = this.#blobs.put(Buffer.from(text));
    if (!this.#held.has(ref.digest)) this.#blobs.retain(ref);
    this.#held.add(ref.digest);
    return { ...ref, bytes: 0 };
  }

  snapshot(): readonly string[] {
    return [...this.#held];
  }

  /** The blob store is restored on its own, before, with its holders. @throws InputError for a program it does not hold */
  restore(held: readonly string[]): void {
    const missing = held.findIndex((digest) => !this.#blobs.has({ ref: "blob", digest, bytes: 0 }));
    if (missing >= 0)
      throw new InputError(`programs[${missing}] is ${show(held[missing])}, which the checkpoint does not hold`);
    this.#held.clear();
    for (const digest of held) this.#held.add(digest);
  }
}

/** What the strategy sees of a run in a round. */
function settingsOf({ data }: Scenario, { task: opened, fleet }: Prepared, rng: Rng): (round: number) => Setting {
  const { task, layout, mixture } = opened;
  const { learningRate, schedule, epochs } = data.training;
  const budgets = [...new Set([...fleet.budget, task.budget.full])].sort((a, b) => a - b);
  const constant: Setting = {
    layout,
    abilities: task.abilities,
    clients: fleet.size,
    budgets,
    rate: learningRate,
    rateFactor: 1,
    epochs,
    draws: (purpose) => rng.at(`strategy: ${purpose}`).at(0),
    examples: (client) => fleet.examples[client]!,
    variant: (budget) => task.budget.variant(budget),
    ...(mixture && { mixture }),
  };
  if (schedule === undefined) return () => constant;
  return (round) => {
    const factor = rateFactor(schedule, round, data.rounds.count);
    return { ...constant, rate: factor * learningRate, rateFactor: factor };
  };
}

/** What each kind of plan adds to a step; a strategy is asked once for each. */
function stepsOf(strategy: Strategy, setting: Setting): (kind: Kind) => Steps {
  const made = new Map<string, Steps>();
  return (kind) => {
    const key = JSON.stringify(kind);
    const steps = made.get(key) ?? strategy.steps?.(kind, setting) ?? {};
    made.set(key, steps);
    return steps;
  };
}

function chargesOf(scenario: Scenario, prepared: Prepared, setting: Setting, steps: (kind: Kind) => Steps): ChargeOf {
  const { data } = scenario;
  const { task: opened, fleet } = prepared;
  const { task, bytes, members } = opened;
  /** As much slower or faster than its FLOPs say as a calibration found the device to be. */
  const paceOf = (variant: Variant, scope?: Scope): number => {
    if (data.calibration === undefined) return 1;
    const counted = (budget: number) => task.cost(task.budget.variant(budget), scope).training;
    const budget = activeIn(variant, task.budget.full);
    return measuredCost(data.calibration, counted)(budget) / counted(budget);
  };
  return chargesBy({
    bytes,
    layout: setting.layout,
    kept: strategyOf(scenario).validation ?? 0,
    members,
    variantOf: (client) => setting.variant(fleet.budget[client]!),
    trainingTimeOf: (client) => trainingTimeOf(fleet, data, client),
    epochTimeOf: (client) => (1_000 * fleet.tokens[client]!) / fleet.tokensPerSecond[client]!,
    flopsOf(variant, scope) {
      const pace = paceOf(variant, scope);
      const { training, forward, once = 0 } = task.cost(variant, scope);
      return { training: pace * training, forward: pace * forward, once: pace * once };
    },
    passesOf(kind) {
      const { before, after, backward = 0, validate, receives } = steps(kind);
      const trained = inOrder(before).length + inOrder(after).length;
      return { trained, backward, validating: validate ? 1 : 0, besides: receives ? 1 : 0 };
    },
  });
}

/** On a task that trains nothing unless a strategy asks for what it has. */
const idle = (type: TaskType): string =>
  `does not need "${factsOf(type).demands}", without which nothing trains on the task "${type}"`;

/** What the strategy asks of the task that it does not have, and options that do not fit the scenario. */
export function strategyProblems(scenario: Scenario, prepared: Prepared): Problem[] {
  const strategy = strategyOf(scenario);
  const { name, needs = [] } = strategy;
  const { type, task } = prepared.task;
  const missing = needs.filter((ability) => !task.abilities.includes(ability));
  const fitting = tasksWith(needs);
  if (missing.length > 0 || !fitting.includes(type)) {
    const lacks = `needs ${missing.join(" and ")}, which the task "${type}" does not have`;
    const field = fitting.includes(type) ? task.withheld?.(missing[0]!) : undefined;
    if (field !== undefined)
      return [{ path: field.path, text: `${field.text}: strategy ${name} ${lacks} as its fields stand` }];
    const why = missing.length === 0 ? idle(type) : lacks;
    const remedy = fitting.length > 0 ? `the task ${fitting.join(" or ")}` : "abilities that one task has";
    return [{ path: "strategy", text: `is ${name}, which ${why}; expected ${remedy}, or another strategy` }];
  }
  const policy = policyOf(scenario);
  if (strategy.sampler?.fewer === true && policy.carriesOver) {
    const text = `is ${name}, which chooses fewer clients than it is asked for; expected a policy of rounds that end, or another strategy`;
    return [{ path: "strategy", text }];
  }
  const setting = settingsOf(scenario, prepared, new Rng(scenario.data.seed))(1);
  const { carriesOver } = policy;
  const { minimumGap } = scenario.data.rounds;
  const sampler = samplerOf(scenario).spec.type;
  const inviting = { invites: promisesOf(policy).invites, carriesOver, minimumGap, sampler };
  return under("strategy", [
    ...(strategy.problems?.(setting) ?? []),
    ...(strategy.participationProblems?.(setting, inviting) ?? []),
  ]);
}

/** What a client would do in round 1, when nobody remembers anything yet: what checks before a run go by. */
export function firstPart(
  scenario: Scenario,
  prepared: Prepared,
): (client: ClientId) => { readonly charge: Charge; readonly effort?: number } {
  const rng = new Rng(scenario.data.seed);
  const { fleet } = prepared;
  const strategy = strategyOf(scenario);
  const setting = settingsOf(scenario, prepared, rng)(1);
  const chargeOf = chargesOf(scenario, prepared, setting, stepsOf(strategy, setting));
  const server = { parameters: new Float32Array(0), vectors: {}, notes: null };
  return (client) => {
    if (strategy.plan === undefined && strategy.steps === undefined && strategy.shape === undefined)
      return { charge: chargeOf(client, null) };
    const view = {
      client,
      participation: participationId(client),
      budget: fleet.budget[client]!,
      examples: fleet.examples[client]!,
      round: round(1),
      memory: emptyMemory,
      draws: (purpose: string) => rng.at(`strategy: ${purpose}`, 1).at(client),
    };
    const plan = strategy.plan?.(view, server, setting) ?? usual(view, setting);
    return { charge: chargeOf(client, plan), ...(plan.effort !== undefined && { effort: plan.effort }) };
  };
}

/**
 * @param most how many clients of a variant share a call at most; their programs are made for every power of two
 * @param programs null in runs without training
 */
export function methodOf(
  scenario: Scenario,
  prepared: Prepared,
  {
    rng,
    programs,
    held,
    most,
  }: {
    readonly rng: Rng;
    readonly programs: TaskPrograms | null;
    readonly held: MethodPrograms;
    readonly most: (variant: Variant) => number;
  },
): Method {
  const strategy = strategyOf(scenario);
  const settingIn = settingsOf(scenario, prepared, rng);
  // Of steps and charges, which no rate has a part in.
  const setting = settingIn(1);
  const stepsBy = stepsOf(strategy, setting);
  const made = new Map<string, ReturnType<Method["programs"]>>();
  const make = (kind: Kind, scoped: boolean): ReturnType<Method["programs"]> => {
    if (prepared.training === null) return { step: {} };
    invariant(programs !== null, () => `${strategy.name} trains, and the run has no task to make its programs of`);
    const { batchSize: rows, length, optimizer } = prepared.training.setup;
    const options = { ...stepOptionsOf(optimizer), ...(scoped && { scoped }) };
    const steps = stepsBy(kind);
    const key = JSON.stringify(kind);
    const step: Record<number, BlobRef> = {};
    const limit = steps.merges === false ? 1 : most(kind.variant);
    for (let clients = 1; clients <= limit; clients *= 2) {
      const shape = { clients, rows, length };
      step[clients] = held.hold(programs.step(kind.variant, shape, options, key, steps).text());
    }
    const probes = (when: "before" | "after" | "validate") =>
      programs
        .probes(kind.variant, { clients: 1, rows, length }, key, when, steps, scoped)
        .map((probe) => held.hold(probe.text()));
    const [validate] = probes("validate");
    return { step, before: probes("before"), after: probes("after"), ...(validate && { validate }) };
  };
  return {
    strategy,
    settingIn,
    isScheduled: scenario.data.training.schedule !== undefined,
    charge: chargesOf(scenario, prepared, setting, stepsBy),
    programs(kind, scoped) {
      const key = JSON.stringify([kind, scoped]);
      const known = made.get(key) ?? make(kind, scoped);
      made.set(key, known);
      return known;
    },
  };
}

/** Null in runs without training. */
export function learningOf(
  scenario: Scenario,
  minUpdates: number,
  { task, budgets, training }: Prepared,
  rng: Rng,
  rescalers: () => Best["rescalers"],
): Learning | null {
  if (training === null) return null;
  const { rescaler, stop } = scenario.data;
  return {
    task,
    rescalers: new RescalerBook({
      layers: task.task.personal,
      topK: task.task.budget.full,
      init: rescaler.init,
      scope: rescaler.scope,
    }),
    budgets,
    initial: () => training.start?.parameters ?? task.initial(rng),
    minUpdates,
    ...(stop && {
      stopping: {
        shards: evaluationShards(training.setup),
        judge: (before, round, found) => judged(before, stop, task.type, round, found),
        rescalers,
      },
    }),
  };
}
