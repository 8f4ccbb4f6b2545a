/**
 * What can be done to the simulated world from outside: by a scenario's timeline, or by a hook of it.
 *
 * Effects are plain data, except a hook, which is a function. A hook sees the simulated world and nothing of the
 * machine that simulates it.
 */
import { z } from "zod";
import { duration, ownFunction, positive, probability } from "../../base/fields.ts";
import type { ClientId } from "../../base/ids.ts";
import { expected, type Problem } from "../../base/problem.ts";
import type { Draws } from "../../base/random.ts";
import type { Millis } from "../../base/units.ts";
import type { FleetNames } from "../fleet/fleet.ts";
import type { Traffic } from "../flight/environment.ts";

/** `all`, the name of a tier or of a region, or a list of clients. */
const target = z.union([z.string(), z.strictObject({ clients: z.array(z.int()).readonly() })]);

export type Target = z.output<typeof target>;

/** An effect without a duration lasts until the run ends, or as long as `between` says. */
const lasts = { duration: duration.exactOptional() };

const lastingEffects = [
  /** Clients are gone: not available, and what they were doing ends as `onIneligible` says. */
  z.strictObject({ type: z.literal("outage"), target, ...lasts }),
  /** Messages stand still, computing goes on. */
  z.strictObject({ type: z.literal("partition"), target, ...lasts }),
  /** Computing takes `factor` times as long. */
  z.strictObject({ type: z.literal("slowdown"), target, factor: positive, ...lasts }),
  /** Links carry `factor` times what they did. */
  z.strictObject({ type: z.literal("bandwidth"), target, factor: positive, ...lasts }),
  /** Transfers break off and start again from their first byte when the server is back. */
  z.strictObject({ type: z.literal("server-restart"), ...lasts }),
  /** Replaces the probability of dropping out in training. */
  z.strictObject({ type: z.literal("dropout"), target, probability, ...lasts }),
  /** Replaces the probability that a message is lost on its way. */
  z.strictObject({ type: z.literal("message-loss"), probability, ...lasts }),
] as const;

export const lastingEffectSchema = z.discriminatedUnion("type", lastingEffects);

const plainEffects = [
  ...lastingEffects,
  /** Clients crash now and are back at once with the state they had before; what they were doing is lost. */
  z.strictObject({ type: z.literal("crash"), target }),
] as const;

/** Effects that can be written into a checkpoint, and that a hook may inject. */
export const plainEffectSchema = z.discriminatedUnion("type", plainEffects);

export const effectSchema = z.discriminatedUnion("type", [
  ...plainEffects,
  /** Runs a function of the scenario with the simulated world, and with it alone. */
  z.strictObject({ type: z.literal("hook"), run: ownFunction<(sim: SimulatedWorld) => void>() }),
]);

export type PlainEffect = Readonly<z.output<typeof plainEffectSchema>>;
export type Effect = Readonly<z.output<typeof effectSchema>>;

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
  readonly budget: ReadonlyColumn;
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

export const outage = (target: Target, duration?: Millis): PlainEffect => ({
  type: "outage",
  target,
  ...lasting(duration),
});
export const partition = (target: Target, duration?: Millis): PlainEffect => ({
  type: "partition",
  target,
  ...lasting(duration),
});
export const slowdown = (target: Target, factor: number, duration?: Millis): PlainEffect => ({
  type: "slowdown",
  target,
  factor,
  ...lasting(duration),
});
export const bandwidth = (target: Target, factor: number, duration?: Millis): PlainEffect => ({
  type: "bandwidth",
  target,
  factor,
  ...lasting(duration),
});
export const serverRestart = (duration?: Millis): PlainEffect => ({ type: "server-restart", ...lasting(duration) });
export const setDropout = (probability: number, target: Target = "all", duration?: Millis): PlainEffect => ({
  type: "dropout",
  target,
  probability,
  ...lasting(duration),
});
export const setMessageLoss = (probability: number, duration?: Millis): PlainEffect => ({
  type: "message-loss",
  probability,
  ...lasting(duration),
});
export const crash = (target: Target): PlainEffect => ({ type: "crash", target });
export const hook = (run: (sim: SimulatedWorld) => void): Effect => ({ type: "hook", run });

/** Does the effect name clients of this fleet? */
export function checkTarget(path: string, effect: Effect, fleet: FleetNames): Problem[] {
  if (!("target" in effect)) return [];
  const { target } = effect;
  if (typeof target === "string") {
    const names = ["all", ...fleet.tierNames, ...fleet.regionNames];
    return names.includes(target) ? [] : [expected(`${path}.target`, `one of ${names.join(", ")}`, target)];
  }
  const strangers = target.clients.filter((client) => client < 0 || client >= fleet.size);
  if (strangers.length === 0) return [];
  return [expected(`${path}.target.clients`, `clients in [0, ${fleet.size})`, strangers)];
}
