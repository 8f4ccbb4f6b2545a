/**
 * A matrix of runs: one scenario under every combination of strategy, round policy, dropout rate and seed.
 *
 * A cell is nothing but changes to the scenario, in the words of `flame run --set`, so every cell can be run alone. Its
 * key is the digest of the scenario it resolves to and of the program: a cell that has been run is known again however
 * the matrix grows, and run anew when anything in it changes.
 */

import { sha256 } from "../base/digest.ts";
import { InvariantError, ScenarioError } from "../base/errors.ts";
import { given } from "../base/given.ts";
import type { Spec } from "../fl/define.ts";
import { sizedLike } from "../fl/policies/registry.ts";
import { type RoundMetrics, withoutDetail } from "../records/metrics.ts";
import { programVersion } from "../run/package.ts";
import { run } from "../run/run.ts";
import type { NatsAddress } from "../runtime/pools/nats-server.ts";
import { configure, type ScenarioChanges } from "../scenario/configure.ts";
import { policyOf, type Scenario, scenarioToJson, strategyOf } from "../scenario/define.ts";
import type { Fleet } from "../sim/fleet/fleet.ts";
import { clientsIn } from "../sim/fleet/fleet-spec.ts";
import { Books, type Costs } from "./books.ts";
import { type Fairness, fairnessOf, servedIn } from "./fairness.ts";
import type { Variation } from "./planned.ts";

export interface Matrix {
  /** In the words of the command line: `flame`, `flame:frequencyExponent=4`, or the scenario's own. Empty: that alone. */
  readonly strategies: readonly string[];
  /** As strategies; sizes that are not given follow from the scenario's cohort. */
  readonly policies: readonly string[];
  /** Probability of dropping out of every tier. Empty: the scenario's own. */
  readonly dropouts: readonly number[];
  /** Settings of the scenario that are compared like strategies; and worlds, in each of which all is compared anew. */
  readonly variants?: readonly Variation[];
  readonly conditions?: readonly Variation[];
  readonly seeds: readonly number[];
  readonly rounds?: number;
  readonly timingOnly?: boolean;
  readonly calibration?: string;
  /** Changes for all cells, as `flame run --set` takes them. */
  readonly set?: readonly string[];
}

export interface CellPlan {
  readonly key: string;
  /** Names the line of a plot: strategy, and policy where there are several. */
  readonly label: string;
  /** Null where there is one. */
  readonly condition: string | null;
  readonly dropout: number;
  readonly seed: number;
  readonly changes: ScenarioChanges;
  readonly scenario: Scenario;
}

export interface MatrixSource {
  readonly engine: string;
  /** Names the code of the file the scenario came from; null for one that is plain data. */
  readonly source: string | null;
}

/** All cells, one seed after the other, so that an unfinished matrix is one with fewer seeds. */
export function cellPlans(scenario: Scenario, matrix: Matrix, { engine, source }: MatrixSource): CellPlan[] {
  const { seeds, rounds, timingOnly, calibration, set = [] } = matrix;
  const { strategy: own } = scenario.own;
  // The author's own goes by its name or its type.
  const isOwn = (name: string): boolean => own !== undefined && [own.name, own.spec.type].includes(name);
  const strategies = orOwn(matrix.strategies);
  const policies = orOwn(matrix.policies);
  const dropouts = orOwn(matrix.dropouts);
  const variants = orOwn(matrix.variants ?? []);
  const conditions = orOwn(matrix.conditions ?? []);
  const settings = conditions.flatMap((condition) => variants.map((variant) => ({ condition, variant })));
  const plans = new Map<string, CellPlan>();
  for (const seed of seeds) {
    for (const { condition, variant } of settings) {
      for (const strategy of strategies) {
        for (const policy of policies) {
          for (const dropout of dropouts) {
            const changes: ScenarioChanges = {
              seed,
              ...given({ rounds }),
              ...(timingOnly === true ? { timingOnly } : {}),
              ...given({ calibration }),
              set: [
                ...(condition?.set ?? []),
                ...(variant?.set ?? []),
                ...set,
                ...(strategy === null || isOwn(strategy) ? [] : [`strategy=${JSON.stringify(partOf(strategy))}`]),
                ...(policy === null
                  ? []
                  : [`rounds.policy=${JSON.stringify(sizedLike(partOf(policy), scenario.data.rounds))}`]),
                // The end of the curve, at which nobody ever answers, is asked for and no mistake.
                ...(dropout === 1 ? ["rounds.mayStayEmpty=true"] : []),
                ...(dropout === null ? [] : scenario.data.fleet.map((_, tier) => `fleet[${tier}].dropout=${dropout}`)),
              ],
            };
            const resolved = configure(scenario, changes);
            // A name that all lines share tells nobody anything.
            const others = policies.length > 1 || variant !== null;
            const names = others && strategies.length === 1 ? [] : [strategy ?? strategyOf(resolved).name];
            if (variant !== null) names.push(variant.name);
            if (policies.length > 1) names.push(policyOf(resolved).name);
            const key = keyOf(resolved, engine, source);
            plans.set(key, {
              key,
              label: names.join(" · "),
              condition: condition?.name ?? null,
              dropout: dropout ?? meanDropout(resolved),
              seed,
              changes,
              scenario: resolved,
            });
          }
        }
      }
    }
  }
  return [...plans.values()];
}

const orOwn = <Item>(items: readonly Item[]): readonly (Item | null)[] => (items.length === 0 ? [null] : items);

/** `fedbuff:buffer=5:maxStaleness=10` → `{ type: "fedbuff", buffer: 5, maxStaleness: 10 }`. */
function partOf(text: string): Spec {
  const [type = "", ...assignments] = text.split(":");
  const spec: { type: string } & Record<string, unknown> = { type };
  for (const assignment of assignments) {
    const [, key, value] = /^(\w+)=(.+)$/.exec(assignment) ?? [];
    if (key === undefined || value === undefined) {
      throw new ScenarioError(`${text}: expected name or name:key=value, as in flame:frequencyExponent=4`);
    }
    try {
      spec[key] = JSON.parse(value);
    } catch {
      spec[key] = value;
    }
  }
  return spec;
}

function meanDropout(scenario: Scenario): number {
  const { fleet } = scenario.data;
  return fleet.reduce((sum, { clients, dropout = 0 }) => sum + clients * dropout, 0) / clientsIn(scenario.data.fleet);
}

function keyOf(scenario: Scenario, engine: string, source: string | null): string {
  const text = scenarioToJson(scenario);
  const parts = [programVersion(), scenario.data.timingOnly ? "timing" : engine, text];
  // What came from code is not in the text; then all of it counts.
  if (source !== null && "own" in (JSON.parse(text) as object)) parts.push(source);
  return sha256(parts.join("\n")).slice(0, 16);
}

/** What a cell came to. Plain data: it travels between threads. */
export interface CellOutcome {
  /** At least the base model's, unless the run broke before. */
  readonly rows: readonly RoundMetrics[];
  readonly clients: number;
  /** Of the trace; null where an invariant broke. */
  readonly digest: string | null;
  /** Null where it broke before its end; fairness also without training, or where a budget was not evaluated. */
  readonly costs: Costs | null;
  readonly fairness: Fairness | null;
  /** Invariants that did not hold. */
  readonly violations: readonly string[];
}

export interface CellOptions {
  readonly engine: string;
  /** A server by which workers elsewhere are found. */
  readonly nats?: NatsAddress;
  readonly reproduce: string;
  readonly signal: AbortSignal;
  readonly onRound: (round: number) => void;
}

/** Runs a cell and leaves nothing on disk. Null when it was interrupted. */
export async function runCell(scenario: Scenario, options: CellOptions): Promise<CellOutcome | null> {
  const { onRound, ...how } = options;
  const rows: RoundMetrics[] = [];
  const clients = clientsIn(scenario.data.fleet);
  let books: Books | null = null;
  let fleet: Fleet | null = null;
  try {
    const { state, digest } = await run(scenario, {
      ...how,
      workers: 1,
      out: null,
      bookkeeper(prepared) {
        fleet = prepared.fleet;
        books = new Books(prepared);
        return books;
      },
      listen: (progress) => {
        if (progress.type !== "round") return;
        rows.push(withoutDetail(progress.row));
        onRound(progress.row.round);
      },
    });
    if (state === "interrupted") return null;
    const served = servedIn(rows.at(-1)!, fleet!);
    const fairness = served === null ? null : fairnessOf(served);
    return { rows, clients, digest, costs: books!.costs, fairness, violations: [] };
  } catch (error) {
    if (!(error instanceof InvariantError)) throw error;
    return { rows, clients, digest: null, costs: null, fairness: null, violations: [error.message] };
  }
}
