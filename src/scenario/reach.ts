/**
 * Can a round with a deadline ever hear from enough clients? What is asked is whether so many of the fleet could report
 * in time on their best day: nobody else on a shared link, no loss, six standard deviations of luck. Durations written
 * in seconds instead of milliseconds show here.
 */
import { type ClientId, clientId } from "../base/ids.ts";
import { formatTime } from "../base/units.ts";
import type { Effect } from "../sim/effects.ts";
import { type Law, logNormalParameters } from "../sim/laws.ts";
import type { Scenario } from "./define.ts";
import { allSteps, trainedTokens } from "./effort.ts";
import type { Prepared } from "./prepare.ts";
import type { Problem } from "./problems.ts";
import { policySpecOf, type ScenarioData } from "./schema.ts";
import { toWorldSpec } from "./world-schema.ts";

const deviations = 6;

export function checkReach({ data, own }: Scenario, { fleet, bytes }: Pick<Prepared, "fleet" | "bytes">): Problem[] {
  const { deadline, minUpdates = 1 } = policySpecOf(data) as {
    readonly deadline?: unknown;
    readonly minUpdates?: number;
  };
  if (own.policy !== undefined || data.rounds.count === 0 || typeof deadline !== "number") return [];
  const luck = luckOf(data);
  if (luck === null) return [];
  const part = (client: ClientId): number =>
    2 * fleet.latency[client]! +
    (1_000 * bytes.download) / (fleet.downlink[client]! * luck.downlink) +
    (luck.duration ?? (1_000 * leastTokens(data, fleet, client)) / fleet.tokensPerSecond[client]!) * luck.work +
    (1_000 * bytes.upload) / (fleet.uplink[client]! * luck.uplink);
  let fastest = Infinity;
  let inTime = 0;
  for (let client = 0; client < fleet.size && inTime < minUpdates; client++) {
    const time = part(clientId(client));
    fastest = Math.min(fastest, time);
    if (time <= deadline) inTime++;
  }
  if (inTime >= minUpdates) return [];
  const enough = minUpdates === 1 ? "an update" : `${minUpdates} updates`;
  const best = `the fastest client takes ${formatTime(fastest)} at best`;
  return [
    {
      path: data.rounds.policy === undefined ? "rounds.deadline" : "rounds.policy.deadline",
      text: `is ${deadline} (${formatTime(deadline)}), expected milliseconds in which ${enough} can come: ${inTime === 0 ? best : `${inTime} clients can be in time`}`,
    },
  ];
}

/** The fewest tokens that a client may train on in a round. */
function leastTokens(data: ScenarioData, { examples, tokens }: Prepared["fleet"], client: ClientId): number {
  const all = trainedTokens(data, examples[client]!, tokens[client]!);
  const { effort, epochs } = data.training;
  if (effort === undefined) return all;
  return effort.type === "epochs" ? (all * effort.from) / epochs : all / allSteps({ examples }, data, client);
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
function luckOf({ world }: ScenarioData): Luck | null {
  const { network, compute, timeline } = toWorldSpec(world);
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
