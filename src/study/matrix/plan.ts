/**
 * A matrix of runs: a scenario, or several from one file, at every place between the axes and with every seed.
 *
 * A cell is nothing but changes to the scenario, in the words of `flame run --set`, so every cell can be run alone. Its
 * key is the digest of the scenario it resolves to and of the program: a cell that has been run is known again however
 * the matrix grows, and run anew when anything in it changes.
 */
import { sha256 } from "../../base/digest.ts";
import { given } from "../../base/given.ts";
import { strategySpecSchema, usualStrategySpec } from "../../fl/strategies/registry.ts";
import { programVersion } from "../../run/package.ts";
import { configure, type ScenarioChanges } from "../../scenario/configure.ts";
import { type Scenario, scenarioToJson, strategyOf } from "../../scenario/define.ts";
import { type Axis, isTimed, type Level, type Place, placesOf, type Role } from "./axes.ts";
import type { Matrix } from "./planned.ts";

/** Where a cell stands on an axis. */
export interface Coordinate {
  readonly label: string;
  /** Null for a name. */
  readonly value: number | null;
}

/** What tells cells apart: every axis with more than one level. */
export interface AxisFacts {
  readonly id: string;
  readonly title: string;
  readonly role: Role;
  readonly levels: readonly Coordinate[];
}

export interface CellPlan {
  readonly key: string;
  /** A row of the tables: strategy, and what else is compared. */
  readonly method: string;
  /** Under which conditions; null where there is one. */
  readonly condition: string | null;
  /** By the axis' id. */
  readonly at: Readonly<Record<string, Coordinate>>;
  readonly seed: number;
  readonly changes: ScenarioChanges;
  /** Of the scenario in its file. */
  readonly name: string;
  readonly scenario: Scenario;
}

export interface MatrixPlan {
  readonly axes: readonly AxisFacts[];
  /** One seed after the other, so that an unfinished matrix is one with fewer seeds. */
  readonly cells: readonly CellPlan[];
  /** What was left out because it is the same, and what may differ each time, in a sentence each. */
  readonly notes: readonly string[];
}

export interface MatrixSource {
  readonly engine: string;
  /** Names the code of the file the scenario came from; null for one that is plain data. */
  readonly source: string | null;
  /** Ends cells without hope, which then are other cells. */
  readonly stopHopeless?: boolean;
  /** Trains them on any kind of processor: other cells as well. */
  readonly mixedHardware?: boolean;
}

/** @throws ScenarioError for a mistake in any cell */
export function planMatrix(scenarios: readonly Scenario[], matrix: Matrix, origin: MatrixSource): MatrixPlan {
  const { axes, places } = placesOf(scenarios, matrix);
  const several = axes.filter(({ levels }) => levels.length > 1);
  const cells = new Map<string, CellPlan>();
  const same = new Map<string, Set<string>>();
  for (const seed of matrix.seeds) {
    for (const scenario of scenarios) {
      for (const place of places) {
        const plan = cellAt(place, { scenario, seed, matrix, origin, several, isOne: scenarios.length === 1 });
        const known = cells.get(plan.key);
        if (known === undefined) cells.set(plan.key, plan);
        else if (known.method !== plan.method)
          same.set(known.method, (same.get(known.method) ?? new Set()).add(plan.method));
      }
    }
  }
  const isTiming = [...cells.values()].every(({ scenario }) => scenario.data.timingOnly);
  const why = isTiming ? "which without training ask the same of clients" : "which are the same";
  const facts = several.map(({ id, title, role, levels }) => ({ id, title, role, levels: levels.map(coordinate) }));
  const ofFile = {
    id: "scenario",
    title: "scenario",
    role: "method" as const,
    levels: scenarios.map(({ data }) => ({ label: data.name, value: null })),
  };
  return {
    axes: scenarios.length === 1 ? facts : [ofFile, ...facts],
    cells: [...cells.values()],
    notes: [
      ...[...same].map(([first, others]) => `${first} stands for ${[...others].join(", ")}, ${why}: it is run once`),
      ...(origin.mixedHardware === true && !isTiming ? [mixed] : []),
    ],
  };
}

const mixed = "any kind of processor trained these runs (--mixed-hardware): the last digits may differ each time";

const coordinate = ({ label, value }: Level): Coordinate => ({ label, value });

interface CellContext {
  readonly scenario: Scenario;
  readonly seed: number;
  readonly matrix: Matrix;
  readonly origin: MatrixSource;
  /** Axes with more than one level. */
  readonly several: readonly Axis[];
  /** Is there one scenario? */
  readonly isOne: boolean;
}

function cellAt(place: Place, { scenario, seed, matrix, origin, several, isOne }: CellContext): CellPlan {
  const { rounds, timingOnly, calibration, set } = matrix;
  const levelsOf = (isWanted: (axis: Axis) => boolean): Level[] =>
    [...place].flatMap(([axis, level]) => (isWanted(axis) ? [level] : []));
  const isWorld = ({ id }: Axis): boolean => id === "condition" || id === "variant";
  const changes: ScenarioChanges = {
    seed,
    ...given({ rounds, calibration }),
    ...(timingOnly ? { timingOnly } : {}),
    set: [
      ...levelsOf(isWorld).flatMap((level) => level.set(scenario)),
      ...set,
      ...levelsOf((axis) => !isWorld(axis)).flatMap((level) => level.set(scenario)),
    ],
  };
  const resolved = configure(scenario, changes);
  // A name that all rows share tells nobody anything.
  const told = (role: Role): string[] =>
    levelsOf((axis) => axis.role === role && several.includes(axis)).map(({ label }) => label);
  const methods = [...(isOne ? [] : [scenario.data.name]), ...told("method")];
  const [only] = levelsOf(({ id }) => id === "strategy");
  const conditions = told("condition");
  const at = several.flatMap((axis) => {
    const level = place.get(axis);
    return level === undefined ? [] : [[axis.id, coordinate(level)] as const];
  });
  return {
    key: keyOf(resolved, origin),
    method: methods.length > 0 ? methods.join(" · ") : (only?.label ?? strategyOf(resolved).name),
    condition: conditions.length > 0 ? conditions.join(" · ") : null,
    at: Object.fromEntries(isOne ? at : [["scenario", { label: scenario.data.name, value: null }], ...at]),
    seed,
    changes,
    name: scenario.data.name,
    scenario: resolved,
  };
}

function keyOf(scenario: Scenario, origin: MatrixSource): string {
  const { engine, source, stopHopeless = false, mixedHardware = false } = origin;
  const { timingOnly } = scenario.data;
  const text = scenarioToJson(timingOnly && !isTimed(scenario) ? withoutStrategy(scenario) : scenario);
  const parts = [programVersion(), timingOnly ? "timing" : engine, text];
  // What came from code is not in the text; then all of it counts.
  if (source !== null && "own" in (JSON.parse(text) as object)) parts.push(source);
  if (stopHopeless && !timingOnly) parts.push("hopeless");
  if (mixedHardware && !timingOnly) parts.push("mixed hardware");
  return sha256(parts.join("\n")).slice(0, 16);
}

function withoutStrategy({ own: { strategy: _, ...own }, data, ...rest }: Scenario): Scenario {
  return { ...rest, own, data: { ...data, strategy: strategySpecSchema.parse(usualStrategySpec) } };
}

/** `flame, dropout 30 %, seed 2`. */
export const titleOf = ({ method, condition, seed }: Pick<CellPlan, "method" | "condition" | "seed">): string =>
  [method, ...(condition === null ? [] : [condition]), `seed ${seed}`].join(", ");
