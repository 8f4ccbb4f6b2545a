/**
 * Can a round ever hear from enough clients before its deadline, its timeout or the end of a recorded window? What is
 * asked is whether so many of the fleet could report in time on their best day: nobody else on a shared link, no loss,
 * six standard deviations of luck. Durations written in seconds instead of milliseconds show here.
 */
import { type ClientId, clientId } from "../base/ids.ts";
import { type Problem, under } from "../base/problem.ts";
import { formatTime } from "../base/units.ts";
import { factsOf, quorumOf, type RoundPolicy } from "../fl/policy.ts";
import { policyOf, type Scenario, samplerOf } from "../scenario/define.ts";
import { allSteps, transferTime } from "../scenario/effort.ts";
import type { ScenarioData } from "../scenario/schema.ts";
import { periodOf, type TraceSpec } from "../sim/availability/availability-windows.ts";
import { type Law, logNormalParameters } from "../sim/fleet/laws.ts";
import type { Effect } from "../sim/script/effects.ts";
import { firstPart } from "./method.ts";
import type { Prepared } from "./prepare.ts";

const deviations = 6;

export function checkReach(scenario: Scenario, prepared: Prepared): Problem[] {
  const { data, own } = scenario;
  const { fleet } = prepared;
  const luck = luckOf(data);
  if (own.policy !== undefined || data.rounds.count === 0 || data.rounds.mayStayEmpty === true || luck === null) {
    return [];
  }
  const partOf = firstPart(scenario, prepared);
  const part = (client: ClientId): number => {
    const { charge, effort = leastEffort(data, fleet, client) } = partOf(client);
    const work = luck.duration ?? charge.training * effort + charge.probing;
    return transferTime(charge, fleet, client, luck) + work * luck.work;
  };
  const policy = policyOf(scenario);
  const needed = quorumOf(policy);
  const tooSlow = limitsOf(data, policy).flatMap(({ path, got, of }) => {
    let fastest = Infinity;
    let inTime = 0;
    for (let client = 0; client < fleet.size && inTime < needed; client++) {
      // Who has no data is never invited.
      if (fleet.examples[client] === 0) continue;
      const time = part(clientId(client));
      fastest = Math.min(fastest, time);
      if (time <= of(client)) inTime++;
    }
    if (inTime >= needed) return [];
    const enough = needed === 1 ? "an update" : `${needed} updates`;
    const best = `the fastest client takes ${formatTime(fastest)} at best`;
    const who = inTime === 0 ? best : `${inTime} clients can be in time`;
    return [{ path, text: `is ${got}, expected milliseconds in which ${enough} can come: ${who}` }];
  });
  const found = samplerOf(scenario).problems?.(fleet, needed) ?? [];
  return [...tooSlow, ...under("rounds.sampler", found)];
}

interface Limit {
  readonly path: string;
  readonly got: string;
  /** Milliseconds that a client has for its part. */
  of(client: number): number;
}

function limitsOf(data: ScenarioData, policy: RoundPolicy): Limit[] {
  const { deadline, timeout } = factsOf(policy);
  const shown = (time: number): string => `${time} (${formatTime(time)})`;
  const isOwn = data.rounds.policy !== undefined;
  const limits: Limit[] = [];
  // Late updates that are used have all the time there is.
  if (deadline !== null && !policy.carriesOver) {
    const path = isOwn ? "rounds.policy.deadline" : "rounds.deadline";
    limits.push({ path, got: shown(deadline), of: () => deadline });
  }
  // The server sweeps once in each timeout, so an invitation may be out for nearly twice as long.
  if (timeout !== null) {
    limits.push({ path: "rounds.policy.timeout", got: shown(timeout), of: () => 2 * timeout });
  }
  const { availability, onIneligible } = data.world;
  for (const [i, spec] of availability.entries()) {
    if (spec.type !== "trace" || onIneligible !== "abort") continue;
    const longest = spec.devices.map((windows, device) => longestStretch(windows, periodOf(spec.period, device)));
    const most = longest.reduce((a, b) => Math.max(a, b), 0);
    limits.push({
      path: `world.availability[${i}].devices`,
      got: `recorded with windows of at most ${shown(most)}`,
      of: (client) => (spec.assignment === "cycle" ? longest[client % longest.length]! : most),
    });
  }
  return limits;
}

/** Of windows that may touch, also from one period to the next. */
function longestStretch(windows: TraceSpec["devices"][number], period: number): number {
  let longest = 0;
  let length = 0;
  let before = Number.NaN;
  // Twice round, so that a stretch across the end of the period is seen whole.
  for (const shift of [0, period]) {
    for (const [start, end] of windows) {
      length = start + shift === before ? length + end - start : end - start;
      before = end + shift;
      longest = Math.max(longest, length);
    }
  }
  return longest > period ? Infinity : longest;
}

/** The smallest share of its steps that a client may take in a round. */
function leastEffort(data: ScenarioData, fleet: Prepared["fleet"], client: ClientId): number {
  const { effort, epochs } = data.training;
  if (effort === undefined) return 1;
  return effort.type === "epochs" ? effort.from / epochs : 1 / allSteps(fleet, data, client);
}

interface Luck {
  /** Milliseconds every task takes at least; null where the device says. */
  readonly duration: number | null;
  /** Factors on what a task takes, and on what links carry. */
  readonly work: number;
  readonly downlink: number;
  readonly uplink: number;
}

/** Null where a script may make anything faster than it is. */
function luckOf({ world: { network, compute, timeline } }: ScenarioData): Luck | null {
  if (timeline.some(({ effect }) => hastens(effect))) return null;
  const { down = 0, up = 0 } = network.taskVariation ?? {};
  return {
    duration: compute.duration === undefined ? null : 1_000 * least(compute.duration),
    work: compute.noise === undefined ? 1 : least(compute.noise),
    downlink: 1 + deviations * down,
    uplink: 1 + deviations * up,
  };
}

function hastens(effect: Effect): boolean {
  if (effect.type === "slowdown") return effect.factor < 1;
  return effect.type === "bandwidth" ? effect.factor > 1 : effect.type === "hook";
}

/** What draws from the law hardly ever, or never, fall below. */
function least(law: Law): number {
  if (typeof law === "number") return law;
  switch (law.type) {
    case "uniform":
      return law.min;
    case "normal":
      return Math.max(0, law.mean - deviations * law.sd);
    case "log-normal": {
      const { mu, sigma } = logNormalParameters(law);
      return Math.exp(mu - deviations * sigma);
    }
    case "pareto":
    case "exponential":
    case "half-normal":
      return law.minimum ?? 0;
    default:
      return 0;
  }
}
