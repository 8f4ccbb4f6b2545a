/**
 * What can be done to the simulated world from outside: by a scenario's timeline, or by a hook of it.
 *
 * Effects are plain data, except a hook, which is a function. A hook sees the simulated world and nothing of the
 * machine that simulates it.
 */
import type { ClientId } from "../../base/ids.ts";
import { checkCount, checkProbability, checkThat, type Problem, problem } from "../../base/problem.ts";
import type { Draws } from "../../base/random.ts";
import type { Millis } from "../../base/units.ts";
import type { FleetNames } from "../fleet/fleet.ts";
import type { Traffic } from "../flight/environment.ts";

/** `all`, the name of a tier or of a region, or a list of clients. */
export type Target = string | { readonly clients: readonly number[] };

/** An effect without a duration lasts until the run ends, or as long as `between` says. */
export type Effect =
  /** Clients are gone: not available, and what they were doing ends as `onIneligible` says. */
  | { readonly type: "outage"; readonly target: Target; readonly duration?: Millis }
  /** Messages stand still, computing goes on. */
  | { readonly type: "partition"; readonly target: Target; readonly duration?: Millis }
  /** Computing takes `factor` times as long. */
  | { readonly type: "slowdown"; readonly target: Target; readonly factor: number; readonly duration?: Millis }
  /** Links carry `factor` times what they did. */
  | { readonly type: "bandwidth"; readonly target: Target; readonly factor: number; readonly duration?: Millis }
  /** Transfers break off and start again from their first byte when the server is back. */
  | { readonly type: "server-restart"; readonly duration?: Millis }
  /** Replaces the probability of dropping out in training. */
  | { readonly type: "dropout"; readonly target: Target; readonly probability: number; readonly duration?: Millis }
  /** Replaces the probability that a message is lost on its way. */
  | { readonly type: "message-loss"; readonly probability: number; readonly duration?: Millis }
  /** Clients crash now and are back at once with the state they had before; what they were doing is lost. */
  | { readonly type: "crash"; readonly target: Target }
  /** Runs a function of the scenario with the simulated world, and with it alone. */
  | { readonly type: "hook"; readonly run: (sim: SimulatedWorld) => void };

/** Effects that can be written into a checkpoint. */
export type PlainEffect = Exclude<Effect, { type: "hook" }>;

export interface ReadonlyColumn {
  readonly length: number;
  readonly [row: number]: number;
}

/** The columns of `fleet.ts`, which nobody may change. */
export interface ReadonlyFleet {
  readonly size: number;
  readonly tierNames: readonly string[];
  readonly regionNames: readonly string[];
  readonly tier: ReadonlyColumn;
  readonly region: ReadonlyColumn;
  readonly topK: ReadonlyColumn;
  readonly tokensPerSecond: ReadonlyColumn;
  readonly downlink: ReadonlyColumn;
  readonly uplink: ReadonlyColumn;
  readonly latency: ReadonlyColumn;
  readonly examples: ReadonlyColumn;
  readonly tokens: ReadonlyColumn;
}

export interface SimulatedWorld {
  readonly now: Millis;
  readonly fleet: ReadonlyFleet;
  readonly traffic: Traffic;
  isAvailable(client: ClientId): boolean;
  /** Clients that are sending, receiving or computing, ascending. */
  busyClients(): ClientId[];
  /** Begins an effect as soon as the hook has returned. */
  inject(effect: PlainEffect): void;
  /** Chance for this happening of this hook: the same in every run of the seed. */
  readonly draws: Draws;
}

const lasting = (duration: Millis | undefined) => (duration === undefined ? {} : { duration });

export const outage = (target: Target, duration?: Millis): Effect => ({
  type: "outage",
  target,
  ...lasting(duration),
});
export const partition = (target: Target, duration?: Millis): Effect => ({
  type: "partition",
  target,
  ...lasting(duration),
});
export const slowdown = (target: Target, factor: number, duration?: Millis): Effect => ({
  type: "slowdown",
  target,
  factor,
  ...lasting(duration),
});
export const bandwidth = (target: Target, factor: number, duration?: Millis): Effect => ({
  type: "bandwidth",
  target,
  factor,
  ...lasting(duration),
});
export const serverRestart = (duration?: Millis): Effect => ({ type: "server-restart", ...lasting(duration) });
export const setDropout = (probability: number, target: Target = "all", duration?: Millis): Effect => ({
  type: "dropout",
  target,
  probability,
  ...lasting(duration),
});
export const setMessageLoss = (probability: number, duration?: Millis): Effect => ({
  type: "message-loss",
  probability,
  ...lasting(duration),
});
export const crash = (target: Target): Effect => ({ type: "crash", target });
export const hook = (run: (sim: SimulatedWorld) => void): Effect => ({ type: "hook", run });

/** Does the target name clients of this fleet? */
export function checkTarget(path: string, target: Target, fleet: FleetNames): Problem[] {
  if (typeof target !== "string") {
    if (!Array.isArray(target?.clients)) return [problem(path, "a name, or { clients: […] }", target)];
    const strangers = target.clients.filter(
      (client) => !(Number.isInteger(client) && client >= 0 && client < fleet.size),
    );
    return checkThat(strangers.length === 0, `${path}.clients`, `clients in [0, ${fleet.size})`, strangers);
  }
  const names = ["all", ...fleet.tierNames, ...fleet.regionNames];
  return checkThat(names.includes(target), path, `one of ${names.join(", ")}`, target);
}

/** What each effect has to say besides its type; all but a crash and a hook may say how long they last. */
const fieldsOf: Readonly<Record<Effect["type"], readonly string[]>> = {
  outage: ["target"],
  partition: ["target"],
  slowdown: ["target", "factor"],
  bandwidth: ["target", "factor"],
  "server-restart": [],
  dropout: ["target", "probability"],
  "message-loss": ["probability"],
  crash: ["target"],
  hook: ["run"],
};

/** A hook may inject anything: what the schema of a scenario finds has to be found here, too. */
export function checkEffect(path: string, effect: Effect, fleet: FleetNames): Problem[] {
  if (typeof effect !== "object" || effect === null) return [problem(path, "an effect", effect)];
  const { type } = effect;
  const types = Object.keys(fieldsOf);
  if (!types.includes(type)) return [problem(`${path}.type`, `one of ${types.join(", ")}`, type)];
  const needed = fieldsOf[type];
  const known = ["type", ...needed, ...(type === "crash" || type === "hook" ? [] : ["duration"])];
  const fields = effect as unknown as Readonly<Record<string, unknown>>;
  const problems = [
    ...needed.flatMap((field) =>
      fields[field] === undefined ? [problem(`${path}.${field}`, `it for an effect of type ${type}`, undefined)] : [],
    ),
    ...Object.keys(fields).flatMap((field) =>
      known.includes(field)
        ? []
        : [problem(`${path}.${field}`, `no such field, but ${known.join(", ")}`, fields[field])],
    ),
  ];
  if (problems.length > 0) return problems;
  if ("target" in effect) problems.push(...checkTarget(`${path}.target`, effect.target, fleet));
  if ("duration" in effect && effect.duration !== undefined) {
    problems.push(...checkCount(`${path}.duration`, effect.duration, 1));
  }
  if ("factor" in effect) {
    const isFactor = effect.factor > 0 && effect.factor < Infinity;
    problems.push(...checkThat(isFactor, `${path}.factor`, "a number above 0", effect.factor));
  }
  if ("probability" in effect) problems.push(...checkProbability(`${path}.probability`, effect.probability));
  if (type === "hook") {
    problems.push(...checkThat(typeof effect.run === "function", `${path}.run`, "a function", effect.run));
  }
  return problems;
}
