/**
 * One step of local training as a program: a task's forward pass, a method's graph pieces, an optimizer.
 *
 *   loss ← objective(mean of the losses),  g ← clip(gradient(∇loss)),  θ ← optimizer(θ, g)
 *
 * State (inputs and outputs of one name): `parameters` and `personal`, with `…Mean` and `…Variance` of AdamW or
 * `…Velocity` of momentum. A method that adds nothing adds no node. Several clients share a call on devices that are
 * faster at one large call: state, rates and extra inputs are then `[clients, …]`, no sum runs over clients, and a client
 * with rates of 0 keeps its parameters.
 */
import { foundPrefix, type OptimizerConfig, tallyPrefix } from "../engine/engine.ts";
import { gradients } from "../tensor/autodiff.ts";
import { Graph } from "../tensor/graph/graph.ts";
import type { Program, Tensor } from "../tensor/graph/ir.ts";
import { add, addScalar, argMax, mul, reduceSum, scale, sub } from "../tensor/ops/arithmetic.ts";
import { less } from "../tensor/ops/discrete.ts";
import { scatterAddRows } from "../tensor/ops/index-ops.ts";
import { type AdamWOptions, adamW, clipFactor, momentumStep, sgd } from "../tensor/optimizer.ts";
import type { Probe, StepContext, Steps } from "./steps.ts";
import type { BatchShape, Pass, Task, Variant } from "./task.ts";

export interface StepOptions extends AdamWOptions {
  /** Whether a global gradient norm is enforced; its value is the input `clipNorm`. */
  readonly clip: boolean;
  /** Whether parameters are decayed; by how much is the input `decay`. */
  readonly decay: boolean;
  /** Whether parameters enter through the input `lens`, one number each, and rest where it is 0. */
  readonly scoped?: boolean;
  /** Whether layers are computed again for the backward pass, rather than all of them kept from the forward pass. */
  readonly recomputes?: boolean;
}

/** What of an optimizer is in the program and not among its inputs. */
export const stepOptionsOf = ({ beta1, beta2, epsilon, clipNorm, weightDecay }: OptimizerConfig): StepOptions => ({
  beta1,
  beta2,
  epsilon,
  clip: clipNorm !== null,
  decay: weightDecay !== 0,
});

const formatVariant = (variant: Variant): string =>
  Object.entries(variant)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");

/** Inputs are made when something first asks for them, and only those belong to the program. */
class Inputs {
  readonly graph: Graph;
  readonly made: Record<string, Tensor> = {};
  readonly #clients: number;

  constructor(clients: number, recomputes = false) {
    this.graph = new Graph({ recomputes });
    this.#clients = clients;
  }

  /** What each client has `size` numbers of. */
  own(name: string, size: number): Tensor {
    return this.of(name, this.#clients === 1 ? [size] : [this.#clients, size]);
  }

  of(name: string, shape: Tensor["shape"]): Tensor {
    this.made[name] ??= this.graph.input(name, "float32", shape);
    return this.made[name];
  }
}

/** @param steps what a method adds; nothing for a plain step */
export function trainingStep(
  task: Task,
  variant: Variant,
  shape: BatchShape,
  options: StepOptions,
  steps: Steps = {},
): Program {
  const { clients } = shape;
  const inputs = new Inputs(clients, options.recomputes);
  const { pass, context, lens } = open(task, variant, shape, inputs, steps, options.scoped);
  const { parameters } = context;
  // Pieces of a method may pull at coordinates that the client does not have.
  const mask = lens && less(inputs.graph.constant([0], [1]), lens);
  const within = (t: Tensor) => (mask ? mul(t, mask) : t);
  const personal = task.personal > 0 ? inputs.own("personal", task.personal) : null;
  const loss = steps.objective?.(context) ?? context.loss;
  const trained = personal === null ? [parameters] : [parameters, personal];
  const [plain, ofPersonal] = gradients(clients === 1 ? loss : reduceSum(loss, [0], true), trained);
  const moves = steps.moves?.(context) ?? null;
  const whole = within(steps.gradient?.(plain!, context) ?? plain!);
  const raw = [moves ? mul(whole, moves) : whole, ...(ofPersonal === undefined ? [] : [ofPersonal])];
  const factor = options.clip ? clipFactor(raw, inputs.of("clipNorm", [1])) : null;
  const [gradient, personalGradient] = factor === null ? raw : raw.map((g) => mul(g, factor));
  const moved = optimized(
    "parameters",
    parameters,
    gradient!,
    inputs,
    { ...options, within },
    steps.optimizer ?? "adamw",
  );
  const state = {
    ...(moves ? resting(moved, moves, inputs) : moved),
    // Personal numbers have their own rate and are never decayed.
    ...(personal !== null &&
      optimized("personal", personal, personalGradient!, inputs, { ...options, decay: false, within: same }, "adamw")),
  };
  const { rows, length } = shape;
  // An objective need not ask for the loss, whose mean then makes its input here.
  const outputs = { ...state, loss: context.loss, counts: pass.counts, ...talliesOf(steps, context) };
  return {
    name: `train ${clients === 1 ? "" : `${clients} clients `}${rows}x${length} ${formatVariant(variant)}`,
    inputs: { ...inputs.made, ...pass.batch },
    outputs,
  };
}

/** What is summed over all steps has a name of its own among the outputs. */
const talliesOf = (steps: Steps, context: StepContext): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(steps.tallies?.(context) ?? {}).map(([name, t]) => [`${tallyPrefix}${name}`, t]));

/** A forward pass over the parameters that a client has, for what a method wants to know of them. */
export function probeProgram(
  task: Task,
  variant: Variant,
  shape: BatchShape,
  steps: Steps,
  probe: Probe,
  scoped = false,
): Program {
  const inputs = new Inputs(1);
  const { pass, context } = open(task, variant, shape, inputs, steps, scoped);
  const outputs = probe(context);
  return {
    name: `probe ${shape.rows}x${shape.length} ${formatVariant(variant)}`,
    inputs: { ...inputs.made, ...pass.batch },
    outputs,
  };
}

/** Outputs `losses` and `predicted` at each target, and `counts`; with `logits` also the logits. */
export function evaluationProgram(
  task: Task,
  variant: Variant,
  shape: Omit<BatchShape, "clients">,
  withLogits = false,
): Program {
  const inputs = new Inputs(1);
  const { pass } = open(task, variant, { ...shape, clients: 1 }, inputs, {});
  const { losses, counts } = pass;
  return {
    name: `evaluate ${shape.rows}x${shape.length} ${formatVariant(variant)}`,
    inputs: { ...inputs.made, ...pass.batch },
    outputs: {
      losses,
      predicted: pass.predicted?.() ?? argMax(pass.logits),
      counts,
      ...(withLogits && { logits: pass.logits }),
      ...task.evaluation?.outputs(pass),
    },
  };
}

const same = (t: Tensor): Tensor => t;

function open(task: Task, variant: Variant, shape: BatchShape, inputs: Inputs, steps: Steps, scoped = false) {
  const { graph } = inputs;
  const { clients } = shape;
  const { size } = task.layout;
  const parameters = inputs.own("parameters", size);
  const personal = task.personal > 0 ? inputs.own("personal", task.personal) : null;
  const lens = scoped ? inputs.own("lens", size) : null;
  const passOf = (trained: Tensor) =>
    task.pass(graph, { parameters: lens === null ? trained : mul(trained, lens), personal }, variant, shape);
  const pass = passOf(parameters);
  const mean = (perTarget: Tensor) => meanOver(pass, perTarget, inputs, clients);
  const given: Record<string, Tensor> = {};
  for (const [name, form] of Object.entries(steps.given ?? {})) {
    given[name] = inputs.own(name, typeof form === "number" ? form : form === "scalar" ? 1 : size);
  }
  const context: StepContext = {
    graph,
    pass,
    mean,
    get loss() {
      return mean(pass.losses);
    },
    parameters,
    get start() {
      return inputs.own("start", size);
    },
    received: () => passOf(inputs.own("start", size)),
    given,
    found: (name, size) => inputs.own(`${foundPrefix}${name}`, size),
  };
  return { pass, context, lens };
}

/** The mean of what each target has, of each client apart: `[1]` or `[clients]`. `inverseCount` is 1 ÷ targets. */
function meanOver(pass: Pass, perTarget: Tensor, inputs: Inputs, clients: number): Tensor {
  const inverse = inputs.of("inverseCount", clients === 1 ? [1] : perTarget.shape);
  if (clients === 1) return mul(reduceSum(perTarget, [0], true), inverse);
  return scatterAddRows(mul(perTarget, inverse), pass.client(), clients);
}

/** Where nothing moves, what there was, bit for bit but for the sign of a zero. */
function resting(moved: Record<string, Tensor>, moves: Tensor, inputs: Inputs): Record<string, Tensor> {
  const rests = addScalar(scale(moves, -1), 1);
  return Object.fromEntries(
    Object.entries(moved).map(([name, next]) => [name, add(mul(next, moves), mul(inputs.made[name]!, rests))]),
  );
}

function optimized(
  name: string,
  parameters: Tensor,
  gradient: Tensor,
  inputs: Inputs,
  options: StepOptions & { within(t: Tensor): Tensor },
  optimizer: NonNullable<Steps["optimizer"]>,
): Record<string, Tensor> {
  const size = parameters.shape.at(-1) as number;
  const learningRate = inputs.own(name === "parameters" ? "learningRate" : `${name}LearningRate`, 1);
  const decayed = (next: Tensor) =>
    options.decay ? sub(next, mul(parameters, options.within(inputs.own("decay", 1)))) : next;
  if (optimizer === "sgd") return { [name]: decayed(sgd(parameters, gradient, learningRate)) };
  if (typeof optimizer === "object") {
    const velocity = inputs.own(`${name}Velocity`, size);
    const next = momentumStep({ parameters, velocity }, gradient, learningRate, optimizer.momentum);
    return { [name]: decayed(next.parameters), [`${name}Velocity`]: next.velocity };
  }
  const state = {
    parameters,
    mean: inputs.own(`${name}Mean`, size),
    variance: inputs.own(`${name}Variance`, size),
  };
  const step = {
    learningRate,
    decay: options.decay ? options.within(inputs.own("decay", 1)) : learningRate,
    correction1: inputs.of("correction1", [1]),
    correction2: inputs.of("correction2", [1]),
  };
  const next = adamW(state, gradient, step, options, options.decay);
  return { [name]: next.parameters, [`${name}Mean`]: next.mean, [`${name}Variance`]: next.variance };
}
