/** The axes of a matrix: a cell is the scenario with one level of each. */
import { ScenarioError } from "../../base/errors.ts";
import { nearest } from "../../base/spelling.ts";
import { formatShare } from "../../base/units.ts";
import type { Spec } from "../../fl/define.ts";
import { policies, sizedLike } from "../../fl/policies/registry.ts";
import { samplers } from "../../fl/samplers/registry.ts";
import { strategies } from "../../fl/strategies/registry.ts";
import type { Strategy } from "../../fl/strategy.ts";
import { type Scenario, strategyOf } from "../../scenario/define.ts";
import type { Matrix } from "./planned.ts";
import { sampled } from "./sample.ts";

export interface Level {
  readonly label: string;
  /** Where it stands on an axis of numbers; null for a name. */
  readonly value: number | null;
  /** Changes to the scenario in the words of `flame run --set`. */
  set(scenario: Scenario): readonly string[];
}

/** What makes a row of a table, or the conditions under which rows are compared. */
export type Role = "method" | "condition";

export interface Axis {
  /** `strategy`, `dropout`, `data.partition.alpha`. */
  readonly id: string;
  /** As tables and plots call it. */
  readonly title: string;
  readonly role: Role;
  readonly levels: readonly Level[];
}

/** One level of each axis. */
export type Place = ReadonlyMap<Axis, Level>;

/** All axes on which the matrix says anything, and all places between them; strategies are the first axis. */
export function placesOf(scenarios: readonly Scenario[], matrix: Matrix): { axes: Axis[]; places: Place[] } {
  const methods = partAxis({ id: "strategy", path: "strategy", entries: strategies.entries }, matrix.strategies);
  const others = [
    axisOf("variant", "method", matrix.variants.map(variation)),
    partAxis(policyKind, matrix.policies),
    partAxis({ id: "sampler", path: "rounds.sampler", entries: samplers.entries }, matrix.samplers),
  ].filter(isGiven);
  const fields = Object.entries(matrix.vary).map(([path, values]) => fieldAxis(path, values, Object.keys(matrix.vary)));
  // Settings of one method are compared with each other; of several, they are where these are compared.
  const isOne = scenarios.length * product([methods, ...others].map(({ levels }) => levels.length)) <= 1;
  const varied = fields.map((axis): Axis => ({ ...axis, role: isOne ? "method" : "condition" }));
  const around = [
    axisOf("condition", "condition", matrix.conditions.map(variation)),
    axisOf("attackers", "condition", matrix.attackers.map(attackLevel)),
    axisOf("dropout", "condition", matrix.dropouts.map(dropoutLevel)),
  ].filter(isGiven);
  const settings = sampled(
    crossed(varied),
    matrix.sample,
    varied.map(({ levels }) => levels.length),
  );
  const rest = crossed([methods, ...others].filter(isGiven));
  const places = rest.flatMap((place) =>
    settings.flatMap((setting) => crossed(around).map((world) => new Map([...place, ...setting, ...world]))),
  );
  return { axes: [methods, ...others, ...varied, ...around].filter(isGiven), places };
}

const isGiven = ({ levels }: Axis): boolean => levels.length > 0;
const product = (sizes: readonly number[]): number => sizes.reduce((all, size) => all * Math.max(1, size), 1);

const crossed = (axes: readonly Axis[]): Place[] =>
  axes.reduce<Place[]>(
    (places, axis) => places.flatMap((place) => axis.levels.map((level) => new Map([...place, [axis, level]]))),
    [new Map()],
  );

const axisOf = (id: string, role: Role, levels: readonly Level[]): Axis => ({ id, title: id, role, levels });

const variation = ({ name, set }: Matrix["variants"][number]): Level => ({ label: name, value: null, set: () => set });

interface Kind {
  readonly id: "strategy" | "policy" | "sampler";
  readonly path: string;
  readonly entries: ReadonlyMap<string, unknown>;
  /** What the scenario is told, where that is more than the name and its options. */
  readonly specOf?: (spec: Spec, scenario: Scenario) => Spec;
}

/** Of parts by name, the author's own by its name or its type. */
const partAxis = ({ id, path, entries, specOf = (spec) => spec }: Kind, names: readonly string[]): Axis =>
  axisOf(
    id,
    "method",
    names.map((label) => ({
      label,
      value: null,
      set(scenario) {
        const own = scenario.own[id];
        if (own !== undefined && [own.name, own.spec.type].includes(label)) return [];
        const spec = partOf(label);
        if (own === undefined || entries.has(spec.type)) return [`${path}=${JSON.stringify(specOf(spec, scenario))}`];
        const names = [own.name, ...entries.keys()];
        const near = nearest(spec.type, names);
        const hint = near === undefined ? "" : `; did you mean ${near}?`;
        throw new ScenarioError(
          `${id}: ${label} is not the scenario's own, ${own.name}, nor does it come with the program${hint}\n  expected one of ${names.join(", ")}`,
        );
      },
    })),
  );

const policyKind: Kind = {
  id: "policy",
  path: "rounds.policy",
  entries: policies.entries,
  specOf: (spec, { data }) => sizedLike(spec, data.rounds),
};

const usualShare = 0.2;

function attackLevel(label: string): Level {
  if (label === "none") return { label, value: null, set: () => ["attackers=[]"] };
  const { share = usualShare, tier, ...attack } = partOf(label);
  return {
    label,
    value: null,
    set: () => [`attackers=${JSON.stringify([{ share, ...(tier === undefined ? {} : { tier }), attack }])}`],
  };
}

const dropoutLevel = (rate: number): Level => ({
  label: `dropout ${formatShare(rate, 2)}`,
  value: rate,
  set: ({ data }) => [
    // The end of the curve, at which nobody ever answers, is asked for and no mistake.
    ...(rate === 1 ? ["rounds.mayStayEmpty=true"] : []),
    ...data.fleet.map((_, tier) => `fleet[${tier}].dropout=${rate}`),
  ],
});

/** `data.partition.alpha` is `alpha`, unless two fields end so. */
function fieldAxis(path: string, values: readonly unknown[], all: readonly string[]): Omit<Axis, "role"> {
  const last = (text: string): string => text.split(".").at(-1)!;
  const title = all.filter((other) => last(other) === last(path)).length > 1 ? path : last(path);
  const text = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
  const levels = values.map((value) => ({
    label: `${title} ${text(value)}`,
    value: typeof value === "number" ? value : null,
    set: () => [`${path}=${text(value)}`],
  }));
  return { id: path, title, levels };
}

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

/** Without training a strategy matters by what it asks of clients; one that only aggregates asks nothing. */
export function isTimed(scenario: Scenario): boolean {
  const { plan, steps, shape, sampler, prelude, validation }: Strategy = strategyOf(scenario);
  return [plan, steps, shape, sampler, prelude, validation].some((part) => part !== undefined && part !== false);
}
