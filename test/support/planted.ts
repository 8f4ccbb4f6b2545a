/**
 * A matrix to be found by low-rank factors, as a task: F(B, A) = ½·‖(D + s·B·A − T)·X‖², with a target T and inputs X of a
 * client's own and D what a method adds to its base; or the linear ⟨T, D + s·B·A⟩. Local steps run in float64 on the plain
 * interpreter, through the program that a strategy's pieces are part of.
 */
import { clientId, participationId, round as roundOf } from "../../src/base/ids.ts";
import { Rng } from "../../src/base/random.ts";
import { type ClientMemory, emptyMemory, type Plan, usual } from "../../src/fl/plan.ts";
import type { ServerState, Strategy } from "../../src/fl/strategy.ts";
import type { Update } from "../../src/fl/update.ts";
import { lensOf } from "../../src/tasks/scope.ts";
import type { Setting, Task } from "../../src/tasks/task.ts";
import { trainingStep } from "../../src/tasks/training-step.ts";
import type { Program } from "../../src/tensor/graph/ir.ts";
import { add, mul, reduceSum, scale, square, sub } from "../../src/tensor/ops/arithmetic.ts";
import { reshape, split } from "../../src/tensor/ops/layout.ts";
import { matmul } from "../../src/tensor/ops/matrix.ts";
import { layoutOfPairs, type Matrix, product } from "./low-rank.ts";
import { aggregate, serverOf, settingOf, updateOf } from "./quadratic.ts";
import { interpret } from "./reference.ts";

/** Matrices are `side` by `side`. */
export const side = 8;
export const identity: Matrix = Array.from({ length: side }, (_, i) =>
  Array.from({ length: side }, (_, j) => Number(i === j)),
);

/** Of that rank, with singular directions of like weight. */
export function planted(rank: number, seed: number): number[][] {
  const draws = new Rng(seed).at("planted").at(0);
  const normals = (rows: number, columns: number) =>
    Array.from({ length: rows }, () => Array.from({ length: columns }, () => draws.normal()));
  return product(normals(side, rank), normals(rank, side), 1 / Math.sqrt(rank));
}

export interface PlantedClient {
  readonly target: Matrix;
  readonly inputs?: Matrix;
  readonly budget: number;
  readonly examples?: number;
}

export function matrixTask(rank: number, loss: "square" | "linear" = "square"): Task {
  const layout = layoutOfPairs([{ outputs: side, inputs: side }], rank);
  return {
    layout,
    abilities: ["low-rank"],
    budget: { full: rank, variant: () => ({}) },
    padding: 1,
    personal: 0,
    initial(rng) {
      const draws = rng.at("factors").at(0);
      // B is zero.
      return Float32Array.from({ length: layout.size }, (_, i) =>
        i < rank * side ? (2 * draws.uniform() - 1) / Math.sqrt(side) : 0,
      );
    },
    cost: () => ({ training: 1, forward: 1 }),
    memory: () => 0,
    pass(graph, { parameters }, variant) {
      const [a, b] = split(parameters, -1, [rank * side, rank * side]);
      const learned = matmul(reshape(b!, [side, rank]), reshape(a!, [rank, side]));
      const batch = {
        x: graph.input("x", "float32", [side, side]),
        y: graph.input("y", "float32", [side, side]),
        ...(variant.delta !== undefined && { delta: graph.input("delta", "float32", [side * side]) }),
      };
      // D lies `[inputs, outputs]`.
      const weight =
        batch.delta === undefined
          ? learned
          : add(learned, matmul(reshape(batch.delta, [side, side]), batch.x, { transposeA: true }));
      const losses =
        loss === "linear"
          ? reduceSum(mul(weight, batch.y), [0, 1], true)
          : scale(reduceSum(square(matmul(sub(weight, batch.y), batch.x)), [0, 1], true), 0.5);
      const one = reshape(losses, [1]);
      const none = () => one;
      return { batch, losses: one, client: none, example: none, logits: one, present: none, counts: one };
    },
  };
}

export interface Play {
  readonly clients: readonly PlantedClient[];
  readonly rank: number;
  readonly steps: number;
  readonly rate: number;
  readonly loss?: "square" | "linear";
}

export const settingOfPlay = ({ clients, rank, rate }: Play): Setting =>
  settingOf(matrixTask(rank).layout, {
    clients: clients.length,
    rate,
    budgets: [...new Set([...clients.map(({ budget }) => budget), rank])].sort((a, b) => a - b),
    examples: (client) => clients[client]!.examples ?? 1,
  });

export const beginningOf = (strategy: Strategy, play: Play): ServerState =>
  serverOf(strategy, matrixTask(play.rank).initial(new Rng(1), 0), settingOfPlay(play));

/** One participation by plain SGD, from the plan to the reply. */
export function trainPlanted(
  strategy: Strategy,
  server: ServerState,
  client: number,
  play: Play,
  { round = 1, memory = emptyMemory, change = (plan: Plan) => plan } = {},
): { readonly update: Update; readonly memory: ClientMemory } {
  const setting = settingOfPlay(play);
  const { target, inputs = identity, budget, examples = 1 } = play.clients[client]!;
  const view = {
    ...{ client: clientId(client), participation: participationId(client), budget, examples, memory },
    round: roundOf(round),
    draws: (purpose: string) => new Rng(3).at(purpose, round).at(client),
  };
  const plan = change(strategy.plan?.(view, server, setting) ?? usual(view, setting));
  const base = Float64Array.from(plan.start ?? server.parameters) as unknown as Float32Array;
  const options = { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false, scoped: plan.scope !== undefined };
  const steps = { ...strategy.steps?.(plan.kind, setting), optimizer: "sgd" as const };
  const program = programOf(strategy, JSON.stringify([play.rank, play.loss, plan.kind, options]), () =>
    trainingStep(matrixTask(play.rank, play.loss), plan.kind.variant, one, options, steps),
  );
  const fed = Object.entries(plan.inputs ?? {}).map(([name, value]) => [
    name,
    typeof value === "number" ? [value] : value,
  ]);
  const feeds = {
    ...Object.fromEntries(fed),
    ...(plan.scope && { lens: lensOf(setting.layout, plan.scope) }),
    ...{ x: inputs.flat(), y: target.flat(), start: base, inverseCount: [1], learningRate: [setting.rate] },
  };
  let parameters: ArrayLike<number> = base;
  for (let step = 0; step < play.steps; step++) parameters = interpret(program, { ...feeds, parameters }).parameters!;
  const trained = { ...updateOf(base, parameters), steps: play.steps, trained: Uint8Array.of(1), found: {} };
  const reply = strategy.reply?.(trained, plan, view, setting) ?? {};
  const update = { ...trained, ...view, plan, sent: reply.sent ?? {}, ...(reply.values && { values: reply.values }) };
  return { update, memory: reply.memory ?? memory };
}

const one = { clients: 1, rows: 1, length: 1 };

/** A kind of plan has one program. */
const programs = new WeakMap<Strategy, Map<string, Program>>();

function programOf(strategy: Strategy, key: string, make: () => Program): Program {
  const known = programs.get(strategy) ?? new Map<string, Program>();
  programs.set(strategy, known);
  const program = known.get(key) ?? make();
  known.set(key, program);
  return program;
}

/**
 * Rounds of everybody; what is known in the end, and what each client remembers.
 *
 * @param onRound told what is known after each
 */
export async function playPlanted(
  strategy: Strategy,
  play: Play,
  rounds: number,
  onRound: (server: ServerState) => void = () => {},
) {
  const setting = settingOfPlay(play);
  let server = beginningOf(strategy, play);
  let memories = play.clients.map(() => emptyMemory);
  for (let round = 1; round <= rounds; round++) {
    const found = memories.map((memory, client) => trainPlanted(strategy, server, client, play, { round, memory }));
    memories = found.map(({ memory }) => memory);
    server = await aggregate(
      strategy,
      server,
      found.map(({ update }) => update),
      setting,
      round,
    );
    onRound(server);
  }
  return { server, memories };
}

/** The matrix of the global model: D + s·B·A. */
export function learnedBy({ parameters, vectors: { delta } }: ServerState, rank: number): number[][] {
  if (delta !== undefined) {
    return identity.map((_, row) => identity.map((__, column) => delta[column * side + row]!));
  }
  const { a, b } = layoutOfPairs([{ outputs: side, inputs: side }], rank).pairs[0]!;
  const rows = (at: number, count: number, width: number) =>
    Array.from({ length: count }, (_, i) => [...parameters.slice(at + i * width, at + (i + 1) * width)]);
  return product(rows(b, side, rank), rows(a, rank, side));
}

/** ‖W − T‖². */
export const squaredGap = (found: Matrix, target: Matrix): number =>
  found.flat().reduce((sum, value, i) => sum + (value - target.flat()[i]!) ** 2, 0);
