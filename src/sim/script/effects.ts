/**
 * What can be done to the simulated world from outside: by a scenario's timeline, or by a hook of it.
 *
 * Effects are plain data, except a hook, which is a function. A hook sees the simulated world and nothing of the
 * machine that simulates it.
 */
import * as z from "zod";
import { duration, ownFunction, positive, probability } from "../../base/fields.ts";
import type { ClientId } from "../../base/ids.ts";
import { expected, type Problem } from "../../base/problem.ts";
import type { Draws } from "../../base/random.ts";
import type { Millis } from "../../base/units.ts";
import type { FleetNames } from "../fleet/fleet.ts";
import type { Traffic } from "../flight/environment.ts";

const target = z
  .union([z.string(), z.strictObject({ clients: z.array(z.int()).readonly().describe("their numbers, from 0") })])
  .describe("whom it strikes: `all`, the name of a tier or of a region, or a list of clients");

export type Target = z.output<typeof target>;

const lasts = {
  duration: duration
    .exactOptional()
    .describe("milliseconds; until the run ends, or as long as `between` says, unless given"),
};

const lastingEffects = [
  z
    .strictObject({ type: z.literal("outage"), target, ...lasts })
    .describe("clients are gone: not available, and what they were doing ends as `onIneligible` says"),
  z
    .strictObject({ type: z.literal("partition"), target, ...lasts })
    .describe("messages stand still, computing goes on"),
  z
    .strictObject({ type: z.literal("slowdown"), target, factor: positive.describe("above 1 is slower"), ...lasts })
    .describe("computing takes `factor` times as long"),
  z
    .strictObject({ type: z.literal("bandwidth"), target, factor: positive.describe("below 1 is slower"), ...lasts })
    .describe("links carry `factor` times what they did"),
  z
    .strictObject({ type: z.literal("server-restart"), ...lasts })
    .describe("transfers break off and start again from their first byte when the server is back"),
  z
    .strictObject({
      type: z.literal("dropout"),
      target,
      probability: probability.describe("of a participation"),
      ...lasts,
    })
    .describe("replaces the probability of dropping out in training"),
  z
    .strictObject({ type: z.literal("message-loss"), probability: probability.describe("of a copy"), ...lasts })
    .describe("replaces the probability that a message is lost on its way"),
] as const;

export const lastingEffectSchema = z.discriminatedUnion("type", lastingEffects);

const plainEffects = [
  ...lastingEffects,
  z
    .strictObject({ type: z.literal("crash"), target })
    .describe("clients crash now and are back at once with the state they had before; what they were doing is lost"),
] as const;

/** Effects that can be written into a checkpoint, and that a hook may inject. */
export const plainEffectSchema = z.discriminatedUnion("type", plainEffects);

export const effectSchema = z.discriminatedUnion("type", [
  ...plainEffects,
  z
    .strictObject({
      type: z.literal("hook"),
      run: ownFunction<(sim: SimulatedWorld) => void>().describe("(sim) => what it does"),
    })
    .describe("runs a function of the scenario with the simulated world, and with it alone"),
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
