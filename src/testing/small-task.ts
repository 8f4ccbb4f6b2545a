/**
 * A setting that is small enough to play with: the language-model task of two layers with four experts each, without
 * weights, or another task where a strategy needs one. Local training is played by chance; everything else of a round is the strategy's own.
 */

import { given } from "../base/given.ts";
import { clientId, participationId, round as roundOf } from "../base/ids.ts";
import { type Draws, Rng } from "../base/random.ts";
import { tallyPrefix } from "../engine/engine.ts";
import { type ClientMemory, emptyMemory, type Invited, type Plain, type Plan, usual } from "../fl/plan.ts";
import type { ServerState, Strategy } from "../fl/strategy.ts";
import type { Trained, Update } from "../fl/update.ts";
import { doWork } from "../fl/works.ts";
import { countParameters } from "../model/accounting.ts";
import { type ModelConfig, plainSettings } from "../model/config.ts";
import { colouredTask } from "../tasks/coloured/task.ts";
import { llmTask, parameterLayout } from "../tasks/llm/task.ts";
import { pregatingTask } from "../tasks/pregating/task.ts";
import { refactorTask } from "../tasks/refactor/task.ts";
import { restorerSize } from "../tasks/restore/restorer.ts";
import { restoreTask } from "../tasks/restore/task.ts";
import { lensOf } from "../tasks/scope.ts";
import { inOrder, type Steps } from "../tasks/steps.ts";
import type { Setting, Task } from "../tasks/task.ts";
import { probeProgram, type StepOptions, trainingStep } from "../tasks/training-step.ts";
import { twoViewTask } from "../tasks/two-view/task.ts";
import type { Program, Tensor } from "../tensor/graph/ir.ts";

const config: ModelConfig = {
  vocabulary: 16,
  layers: 2,
  width: 4,
  heads: 1,
  keyValueHeads: 1,
  experts: 4,
  expertWidth: 2,
  topK: 4,
  maxTokens: 8,
  ...plainSettings,
};
const lora = { rank: 2, alpha: 4 };
const { total, expert } = countParameters(config);
const clients = 8;
const tokens = 100;

const headed = colouredTask({ inputs: 4, representation: [3, 2], hidden: 0, heads: clients });

interface SmallTask {
  readonly task: Task;
  readonly setting: Setting;
}

const smallTasks = new Map<string, SmallTask>();

/** The task that a strategy needs, as it shapes it. */
export function smallTask({ shape, needs = [] }: Pick<Strategy, "shape" | "needs">): SmallTask {
  const key = JSON.stringify([shape, needs]);
  const task = smallTasks.get(key) ?? newTask(shape, needs);
  smallTasks.set(key, task);
  return task;
}

function newTask(shape: Strategy["shape"], needs: NonNullable<Strategy["needs"]>): SmallTask {
  const common = {
    clients,
    rate: 0.1,
    rateFactor: 1,
    epochs: 1,
    draws: (purpose: string) => new Rng(1).at(purpose).at(0),
    examples: (client: number) => 1 + ((37 * client) % 100),
  };
  if (needs.includes("heads")) {
    const { layout, abilities, budget } = headed;
    return { task: headed, setting: { ...common, layout, abilities, budgets: [1], variant: budget.variant } };
  }
  if (needs.includes("modalities")) {
    const task = twoViewTask({ inputs: [3, 4], hidden: 5, features: 2, classes: 3 });
    const { layout, abilities, budget } = task;
    return { task, setting: { ...common, layout, abilities, budgets: [1, 2, 3], variant: budget.variant } };
  }
  if (needs.includes("cut")) {
    const router = { blocks: 1, heads: 1, hidden: 2 };
    const cut = { experts: 4, active: 2, share: 0.5, combine: "sum", router } as const;
    const task = refactorTask({ config: { ...config, experts: 1, expertWidth: 6, topK: 1 }, ...cut });
    const { layout, abilities, budget } = task;
    return { task, setting: { ...common, layout, abilities, budgets: [1, 2, 4], variant: budget.variant } };
  }
  if (needs.includes("gates")) {
    const task = pregatingTask({ config, heads: "perLayer", router: { blocks: 1, heads: 1, hidden: 2 } });
    const { layout, abilities, budget } = task;
    return { task, setting: { ...common, layout, abilities, budgets: [1, 2, 4], variant: budget.variant } };
  }
  if (needs.includes("slices")) {
    const ranks = { shared: 1, routed: 4, zero: 1 };
    const task = restoreTask({ ranks, topK: 4, scale: 1, side: 2, base: new Float32Array(restorerSize) });
    const { layout, abilities, budget } = task;
    return { task, setting: { ...common, layout, abilities, budgets: [1, 2, 4], variant: budget.variant } };
  }
  const task = llmTask({ config, lora, form: "factored", ...given({ shape }) });
  const setting: Setting = {
    ...common,
    abilities: task.abilities,
    layout: parameterLayout(task.adapter),
    budgets: [1, 2, 4],
    variant: (topK) => ({ topK }),
    mixture: { topK: config.topK, expert, rest: total - config.layers * config.experts * expert },
  };
  return { task, setting };
}

const shape = { rows: 2, length: 8 };
const stepOptions: StepOptions = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip: true, decay: false };

/** All programs of one kind of plan. */
export function programsOf(strategy: Strategy, plan: Plan): { readonly steps: Steps; readonly programs: Program[] } {
  const steps = strategy.steps?.(plan.kind, smallTask(strategy).setting) ?? {};
  const together = steps.merges === false ? [1] : [1, 2];
  const training = together.map((count) => stepOf(strategy, plan, steps, count));
  return { steps, programs: [...training, ...probesOf(strategy, plan, steps)] };
}

function stepOf(strategy: Strategy, { kind: { variant }, scope }: Plan, steps: Steps, count: number): Program {
  const options = { ...stepOptions, ...(scope !== undefined && { scoped: true }) };
  return trainingStep(smallTask(strategy).task, variant, { clients: count, ...shape }, options, steps);
}

const probesOf = (strategy: Strategy, { kind: { variant }, scope }: Plan, steps: Steps): Program[] =>
  [steps.before, steps.after, steps.validate]
    .flatMap(inOrder)
    .map((probe) =>
      probeProgram(smallTask(strategy).task, variant, { clients: 1, ...shape }, steps, probe, scope !== undefined),
    );

/** What is remembered between rounds, by the server and by each client. */
export interface Remembered {
  readonly server: ServerState;
  readonly memories: readonly ClientMemory[];
}

const newcomers = Array.from({ length: clients }, () => emptyMemory);

/** Before round 1: θ of about 1, what the strategy itself begins with, and what a prelude of everybody brings. */
export async function beginning(strategy: Strategy, seed: number): Promise<Remembered> {
  const first = unplayed(strategy, seed);
  if (strategy.prelude !== true) return first;
  const { updates, memories } = played(strategy, first, { seed, round: 0 });
  return { server: await aggregated(strategy, first.server, updates, 0), memories };
}

export function unplayed(strategy: Strategy, seed: number): Remembered {
  const { setting } = smallTask(strategy);
  const parameters = normals(drawsOf("parameters", seed), setting.layout.size, 1);
  return { server: { parameters, ...(strategy.init?.(setting) ?? { vectors: {}, notes: null }) }, memories: newcomers };
}

interface Chance {
  readonly seed: number;
  readonly round?: number;
  /** Model that clients received; the server's unless given. */
  readonly base?: Float32Array;
  /** Whether a client uses a group; four in five do unless given. */
  readonly uses?: (client: number, group: number) => boolean;
  /** Added to the base where a group was trained; about 0.1 unless given. */
  readonly delta?: Float32Array;
}

/** What a round of all clients brings: updates of fitting sizes from a training that was none, and their memories. */
export function played(strategy: Strategy, { server, memories }: Remembered, chance: Chance) {
  const { seed, round = 1 } = chance;
  const { setting } = smallTask(strategy);
  const notes = notesOfChosen(strategy, server, round, seed);
  const answers = memories.map((memory, client) => {
    const draws = drawsOf("training", seed, round, client);
    const view: Invited = {
      client: clientId(client),
      participation: participationId(round * clients + client),
      budget: setting.budgets[client % setting.budgets.length]!,
      examples: setting.examples(client),
      round: roundOf(round),
      memory,
      draws: (purpose) => drawsOf(purpose, seed, round, client),
      ...given({ chosen: notes.get(client) }),
    };
    const plan = strategy.plan?.(view, server, setting) ?? usual(view, setting);
    const base = plan.start ?? chance.base ?? server.parameters;
    const trained = trainedOf(strategy, plan, chance, base, client, draws);
    const reply = strategy.reply?.(trained, plan, view, setting) ?? {};
    const { found: _, ...seen } = trained;
    const { budget, examples } = view;
    const update: Update = {
      ...seen,
      ...{ client: view.client, budget, examples, round: view.round, plan },
      participation: participationId(client),
      values: reply.values ?? trained.values,
      trained: reply.trained ?? trained.trained,
      sent: reply.sent ?? {},
      discount: 1,
      staleness: 0,
    };
    // Whether the strategy sends something else than what was trained.
    const isTrained = reply.values === undefined;
    return { plan, update, isTrained, memory: reply.memory ?? memory };
  });
  return {
    answers,
    updates: answers.map(({ update }) => update),
    memories: answers.map(({ memory }) => memory),
  };
}

/** What a strategy's own sampler notes when it chooses everybody. */
function notesOfChosen(strategy: Strategy, server: ServerState, round: number, seed: number): Map<number, Plain> {
  const { sampler } = strategy;
  if (sampler === undefined || round === 0) return new Map();
  const { setting } = smallTask(strategy);
  const eligible = Array.from({ length: clients }, (_, client) => clientId(client));
  const from = { round: roundOf(round), eligible, count: clients, memory: null, server };
  const chosen = sampler.select(from, setting, drawsOf("sampler", seed, round)).clients;
  return new Map(chosen.map(({ client, notes = null }) => [client, notes]));
}

function trainedOf(
  strategy: Strategy,
  plan: Plan,
  { uses, delta }: Chance,
  base: Float32Array,
  client: number,
  draws: Draws,
): Trained {
  const { task, setting } = smallTask(strategy);
  const { layout } = setting;
  const noise = delta ?? normals(draws, layout.size, 0.1);
  const lens = plan.scope && lensOf(layout, plan.scope);
  const values = base.slice();
  const each = layout.groups.length / (strategy.shape?.members ?? 1);
  const isAsked = (group: number) => plan.members?.includes(Math.floor(group / each)) ?? true;
  const used = layout.groups.map((_, group) => (uses?.(client, group) ?? !draws.bernoulli(0.2)) && isAsked(group));
  for (const [group, { ranges }] of layout.groups.entries()) {
    if (!used[group]) continue;
    for (const { start, end } of ranges)
      for (let i = start; i < end; i++) values[i]! += lens?.[i] === 0 ? 0 : noise[i]!;
  }
  return {
    values,
    base,
    steps: 4,
    firstLoss: 2,
    meanLoss: 1,
    trained: Uint8Array.from(used, Number),
    counts: Float64Array.from(used, (isUsed) => (isUsed ? 1 + draws.below(tokens - 1) : 0)),
    units: tokens,
    personal: new Float32Array(task.personal).fill(1),
    found: foundBy(strategy, plan, draws),
  };
}

/** What probes and tallies might have come to: numbers of their shapes, between 1 and 2. */
function foundBy(strategy: Strategy, plan: Plan, draws: Draws): Record<string, Float64Array> {
  const known = foundSizes.get(strategy) ?? new Map<string, FoundSizes>();
  foundSizes.set(strategy, known);
  const key = JSON.stringify([plan.kind, plan.scope !== undefined]);
  const sizes = known.get(key) ?? sizesOfFound(strategy, plan);
  known.set(key, sizes);
  const numbers = (size: number) => Float64Array.from({ length: size }, () => 1 + draws.uniform());
  return Object.fromEntries(sizes.map(([name, size]) => [name, numbers(size)]));
}

type FoundSizes = readonly (readonly [name: string, size: number])[];

/** By strategy and kind of plan: to build its programs takes longer than to play a round. */
const foundSizes = new WeakMap<Strategy, Map<string, FoundSizes>>();

function sizesOfFound(strategy: Strategy, plan: Plan): FoundSizes {
  const steps = strategy.steps?.(plan.kind, smallTask(strategy).setting) ?? {};
  const probed = probesOf(strategy, plan, steps).flatMap(({ outputs }) => Object.entries(outputs));
  const step = steps.tallies && stepOf(strategy, plan, steps, 1);
  const tallied = Object.entries(step?.outputs ?? {}).filter(([name]) => name.startsWith(tallyPrefix));
  const size = ({ shape: dims }: Tensor) => dims.reduce<number>((product, dim) => product * (dim as number), 1);
  return [
    ...probed.map(([name, output]) => [name, size(output)] as const),
    ...tallied.map(([name, output]) => [name.slice(tallyPrefix.length), size(output)] as const),
  ];
}

/** The server's part of a round. */
export async function aggregated<Sum>(
  strategy: Strategy<Sum>,
  server: ServerState,
  updates: readonly Update[],
  round = 1,
): Promise<ServerState> {
  const { setting } = smallTask(strategy);
  const at = { round: roundOf(round), draws: (purpose: string) => drawsOf(purpose, round) };
  const sum = strategy.begin(server, setting);
  for (const update of updates) strategy.fold(sum, update, setting, at);
  return strategy.finish(sum, server, setting, { ...at, work: async (name, input) => doWork(name, input) });
}

export const drawsOf = (purpose: string, ...keys: readonly number[]): Draws =>
  new Rng(keys[0] ?? 0).at(`testing ${purpose}`, ...keys.slice(1, 2)).at(keys[2] ?? 0);

const normals = (draws: Draws, size: number, scale: number): Float32Array =>
  Float32Array.from({ length: size }, () => scale * draws.normal());
