/**
 * The smallest task there is: F(θ) = ½·Σ (θ − e)² with a target e of the client's own. Its local steps run in float64 on
 * the plain interpreter, through the very graph pieces a strategy writes.
 */

import {
  type ClientId,
  clientId,
  type ParticipationId,
  participationId,
  round as roundOf,
} from "../../src/base/ids.ts";
import { Rng } from "../../src/base/random.ts";
import { type ClientMemory, emptyMemory, type Plan, usual } from "../../src/fl/plan.ts";
import type { ServerState, Strategy } from "../../src/fl/strategy.ts";
import type { Trained, Update } from "../../src/fl/update.ts";
import { type AskForWork, doWork } from "../../src/fl/works.ts";
import type { ParameterLayout } from "../../src/tasks/layout.ts";
import { inOrder, type StepContext } from "../../src/tasks/steps.ts";
import type { Setting } from "../../src/tasks/task.ts";
import { gradients } from "../../src/tensor/autodiff.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import type { Tensor } from "../../src/tensor/graph/ir.ts";
import { add, addScalar, reduceSum, scale, square, sub } from "../../src/tensor/ops/arithmetic.ts";
import { interpret, type Numbers } from "./reference.ts";

/** `groups` stretches of `width` parameters. */
export const plainLayout = (width: number, groups = 1): ParameterLayout => ({
  size: width * groups,
  groups: Array.from({ length: groups }, (_, group) => ({
    name: `group ${group}`,
    ranges: [{ start: group * width, end: (group + 1) * width }],
  })),
  pairs: [],
});

export function settingOf(layout: ParameterLayout, given: Partial<Setting> = {}): Setting {
  const rng = new Rng(1);
  return {
    layout,
    abilities: [],
    clients: 2,
    budgets: [1],
    rate: 0.1,
    rateFactor: 1,
    epochs: 1,
    draws: (purpose) => rng.at(purpose).at(0),
    examples: () => 1,
    variant: () => ({}),
    ...given,
  };
}

/** On this thread. */
export const workHere: AskForWork = async (name, input) => doWork(name, input);

export const drawsOf = (round: number) => (purpose: string) => new Rng(2).at(purpose, round).at(0);

export function serverOf(strategy: Strategy, parameters: ArrayLike<number>, setting: Setting): ServerState {
  const { vectors = {}, notes = null } = strategy.init?.(setting) ?? {};
  return { parameters: Float32Array.from(parameters), vectors, notes };
}

export const updateOf = (
  base: ArrayLike<number>,
  values: ArrayLike<number>,
  given: Partial<Update> & { readonly layout?: ParameterLayout } = {},
): Update => ({
  client: clientId(0),
  participation: 0 as ParticipationId,
  round: roundOf(1),
  budget: 1,
  examples: 1,
  plan: { kind: { variant: {} } },
  base: base as Float32Array,
  values: values as Float32Array,
  steps: 1,
  firstLoss: 1,
  meanLoss: 1,
  trained: new Uint8Array(64).fill(1),
  counts: new Float64Array(64).fill(1),
  units: 1,
  personal: new Float32Array(0),
  sent: {},
  discount: 1,
  staleness: 0,
  ...given,
});

/** The server's side of one round. */
export async function aggregate<Sum>(
  strategy: Strategy<Sum>,
  server: ServerState,
  updates: readonly Update[],
  setting: Setting,
  round = 1,
): Promise<ServerState> {
  const at = { round: roundOf(round), draws: drawsOf(round), work: workHere };
  const sum = strategy.begin(server, setting);
  for (const update of updates) strategy.fold(sum, update, setting, at);
  return strategy.finish(sum, server, setting, at);
}

export interface QuadraticClient {
  readonly client: ClientId;
  readonly target: readonly number[];
  readonly steps: number;
  readonly memory: ClientMemory;
}

/** One participation: plan, local steps, reply. Values stay in float64 all the way. */
export function participate(
  strategy: Strategy,
  server: ServerState,
  { client, target, steps, memory }: QuadraticClient,
  setting: Setting,
  round = 1,
): { readonly update: Update; readonly memory: ClientMemory } {
  const view = {
    client,
    budget: 1,
    examples: setting.examples(client),
    round: roundOf(round),
    memory,
    draws: drawsOf(round),
    participation: participationId(client),
  };
  const plan = strategy.plan?.(view, server, setting) ?? usual(view, setting);
  const base = Float64Array.from(server.parameters) as unknown as Float32Array;
  const program = stepOf(strategy, plan, setting);
  const rate = plan.learningRate ?? setting.rate;
  let values = Float64Array.from(base);
  let velocity = new Float64Array(values.length);
  const momentum = program.momentum;
  for (let step = 0; step < steps; step++) {
    const { gradient } = program.run(values, base, target, plan);
    velocity = gradient!.map((g, i) => momentum * velocity[i]! + g);
    values = values.map((value, i) => value - rate * velocity[i]!);
  }
  const groups = setting.layout.groups.length;
  const trained: Trained = {
    values: values as unknown as Float32Array,
    base,
    steps,
    firstLoss: 1,
    meanLoss: 1,
    trained: new Uint8Array(groups).fill(1),
    counts: new Float64Array(groups).fill(1),
    units: 1,
    personal: new Float32Array(0),
    found: program.probe(base, target, plan),
  };
  const reply = strategy.reply?.(trained, plan, view, setting) ?? {};
  const { found: _, ...rest } = trained;
  return {
    update: {
      ...updateOf(base, values),
      ...rest,
      ...view,
      plan,
      ...(reply.values && { values: reply.values }),
      sent: reply.sent ?? {},
    },
    memory: reply.memory ?? memory,
  };
}

function stepOf(strategy: Strategy, plan: Plan, setting: Setting) {
  const { size } = setting.layout;
  const steps = strategy.steps?.(plan.kind, setting) ?? {};
  const graph = new Graph();
  const vector = (name: string) => graph.input(name, "float32", [size]);
  const inputs: Record<string, Tensor> = {
    parameters: vector("parameters"),
    start: vector("start"),
    target: vector("target"),
  };
  const given: Record<string, Tensor> = {};
  for (const [name, form] of Object.entries(steps.given ?? {})) {
    const input = (length: number) => graph.input(name, "float32", [length]);
    given[name] = inputs[name] = typeof form === "number" ? input(form) : form === "scalar" ? input(1) : vector(name);
  }
  const contextOf = (parameters: Tensor): StepContext => {
    const losses = scale(reduceSum(square(sub(parameters, inputs.target!)), [0], true), 0.5);
    const one = addScalar(scale(losses, 0), 1);
    const pass = {
      batch: {},
      losses,
      client: () => one,
      example: () => one,
      logits: one,
      present: () => one,
      counts: one,
    };
    const found = (name: string, size: number) => graph.input(name, "float32", [size]);
    return {
      graph,
      pass,
      loss: losses,
      mean: (t) => t,
      parameters,
      start: inputs.start!,
      received: () => pass,
      given,
      found,
    };
  };
  const context = contextOf(inputs.parameters!);
  const objective = steps.objective?.(context) ?? context.loss;
  const [raw] = gradients(objective, [inputs.parameters!]);
  const gradient = steps.gradient?.(raw!, context) ?? raw!;
  const found = inOrder(steps.before)[0]?.(context) ?? {};
  const run = (
    values: ArrayLike<number>,
    start: ArrayLike<number>,
    target: ArrayLike<number>,
    { inputs: fed = {} }: Plan,
  ) => {
    const feeds: Record<string, ArrayLike<number>> = { parameters: values, start, target };
    for (const name of Object.keys(given)) {
      const value = fed[name]!;
      feeds[name] = typeof value === "number" ? [value] : value;
    }
    return feeds as Numbers;
  };
  const { optimizer } = steps;
  return {
    momentum: typeof optimizer === "object" ? optimizer.momentum : 0,
    run: (values: Float64Array, start: ArrayLike<number>, target: ArrayLike<number>, at: Plan) =>
      interpret(
        { name: "step", inputs, outputs: { gradient: add(gradient, scale(gradient, 0)) } },
        run(values, start, target, at),
      ),
    probe: (start: ArrayLike<number>, target: ArrayLike<number>, at: Plan) =>
      interpret({ name: "probe", inputs, outputs: found }, run(start, start, target, at)),
  };
}

export { emptyMemory };
