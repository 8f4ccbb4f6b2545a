/** What somebody should know of a run before waiting for it. Nothing here is wrong enough to refuse. */
import { availableParallelism } from "node:os";
import { messageOf } from "../../base/errors.ts";
import { formatTime } from "../../base/units.ts";
import type { MergeLimit } from "../../engine/merge-limit.ts";
import { metricsOf, type RoundMetrics, type RoundRow } from "../../records/metrics.ts";
import type { Prepared } from "../../run/prepare.ts";
import { expectationsOf, type Scenario, strategyOf } from "../../scenario/define.ts";
import { neverCame } from "../../sim/script/timeline.ts";
import { factsOf } from "../../tasks/facts.ts";
import type { Played } from "./play.ts";

interface Circumstances {
  readonly isGpu: boolean;
  readonly merge: "auto" | MergeLimit;
  /** As asked for; null for as many as there are cores. */
  readonly workers: number | null;
  /** Updates that count in a round, in the median. */
  readonly counted: number;
}

export function warningsOf(scenario: Scenario, prepared: Prepared, played: Played, at: Circumstances): string[] {
  const { data } = scenario;
  const end = played.rows.at(-1)!.closedAt;
  return [
    ...ofMachine(at),
    ...ofLinks(prepared),
    ...ofRounds(played),
    ...ofStrategy(scenario, at.counted),
    ...(played.isWhole ? neverCame(data.world.timeline, end) : []),
    ...ofClaims(scenario, prepared, played),
  ];
}

function ofMachine({ isGpu, merge, workers }: Circumstances): string[] {
  const cores = availableParallelism();
  const warnings: string[] = [];
  if (workers !== null && workers > cores) {
    warnings.push(`${workers} workers on ${cores} cores: those above ${cores} take memory and gain nothing`);
  }
  if (!isGpu && merge !== "auto" && !("clients" in merge && merge.clients === 1)) {
    warnings.push("--merge on a CPU gains nothing: many small calls keep it as busy as few large ones");
  }
  return warnings;
}

/** Slower than a modem: somebody meant `megabits(…)`. */
const slowestLink = 1_000;

function ofLinks({ fleet }: Prepared): string[] {
  return fleet.tierNames.flatMap((tier, at) => {
    const slow = fleet.tier.reduce(
      (count, of, client) =>
        count + (of === at && Math.min(fleet.uplink[client]!, fleet.downlink[client]!) < slowestLink ? 1 : 0),
      0,
    );
    return slow === 0 ? [] : [`${slow} clients of tier ${tier} have a link below 1 kB/s; megabits(5) is 625 kB/s`];
  });
}

const day = 86_400_000;

function ofRounds({ rows }: Played): string[] {
  const long = rows.filter(({ round, startedAt, closedAt }) => round > 0 && closedAt - startedAt > day);
  if (long.length === 0) return [];
  const longest = Math.max(...long.map(({ startedAt, closedAt }) => closedAt - startedAt));
  return [
    `${long.length} of ${rows.length - 1} rounds take more than a day of virtual time, the longest ${formatTime(longest)}`,
  ];
}

function ofStrategy(scenario: Scenario, counted: number): string[] {
  const { name, idle, prelude } = strategyOf(scenario);
  const why = idle?.(counted) ?? null;
  return [
    ...(why === null ? [] : [`${name} does nothing in a median round: ${why}`]),
    ...(prelude === true && !scenario.data.timingOnly
      ? [`${name} plans by what its prelude finds: bytes and times of the rounds after it are known only then`]
      : []),
  ];
}

/** Claims are code that nobody has seen run; here each is tried on rows like those to come. */
function ofClaims(scenario: Scenario, prepared: Prepared, { rows }: Played): string[] {
  const { fleet, task } = prepared;
  const findings = {
    rows: rows.map((row) => likely(row, scenario, prepared)),
    clients: fleet.size,
    expertTokens: Array.from({ length: task.layers }, () => new Array<number>(task.experts).fill(1)),
  };
  return expectationsOf(scenario).flatMap(({ claim, check }) => {
    try {
      check(findings);
      return [];
    } catch (error) {
      return [`the claim "${claim}" throws on rows like those of this run: ${messageOf(error)}`];
    }
  });
}

/** A row with results that might have been found. */
function likely(row: RoundRow, { data }: Scenario, { fleet, budgets, task, training }: Prepared): RoundMetrics {
  const isEvaluated = row.round % data.evaluateEvery === 0 || row.round === data.rounds.count;
  const more = Object.fromEntries(factsOf(task.type).metrics.map(({ key }) => [key, 0.5]));
  const evaluations = budgets.map((budget) => ({ budget, loss: 1, accuracy: 0.5, exactMatch: 0.5, more }));
  return {
    ...metricsOf(row, fleet),
    ...(training !== null && { trainLoss: row.round === 0 ? null : 1, evaluations: isEvaluated ? evaluations : [] }),
  };
}
