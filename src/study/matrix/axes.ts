/** The axes of a matrix: a cell is the scenario with one level of each. */
import { ScenarioError } from "../../base/errors.ts";
import { formatShare } from "../../base/units.ts";
import type { Spec } from "../../fl/define.ts";
import { sizedLike } from "../../fl/policies/registry.ts";
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
  const methods = strategyAxis(matrix.strategies);
  const others = [
    axisOf("variant", "method", matrix.variants.map(variation)),
    axisOf("policy", "method", matrix.policies.map(policyLevel)),
    axisOf(
      "sampler",
      "method",
      matrix.samplers.map((name) => partLevel(name, "rounds.sampler")),
    ),
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

const strategyAxis = (names: readonly string[]): Axis =>
  axisOf(
    "strategy",
    "method",
    names.map((name) => ({
      label: name,
      value: null,
      set: (scenario) => (isOwn(scenario, name) ? [] : [`strategy=${JSON.stringify(knownPart(name, scenario))}`]),
    })),
  );

/** @throws ScenarioError for a name that is none, in a scenario with a strategy of its own: that may have been meant */
function knownPart(name: string, { own: { strategy } }: Scenario): Spec {
  const part = partOf(name);
  if (strategy === undefined || strategies.entries.has(part.type)) return part;
  throw new ScenarioError(
    `strategies: ${name} is not the scenario's own, ${strategy.name}, nor does it come with the program\n  expected ${strategy.name}, or one of ${[...strategies.entries.keys()].join(", ")}`,
  );
}

/** The author's own goes by its name or its type. */
const isOwn = ({ own: { strategy } }: Scenario, name: string): boolean =>
  strategy !== undefined && [strategy.name, strategy.spec.type].includes(name);

const partLevel = (label: string, path: string): Level => ({
  label,
  value: null,
  set: () => [`${path}=${JSON.stringify(partOf(label))}`],
});

const policyLevel = (label: string): Level => ({
  label,
  value: null,
  set: ({ data }) => [`rounds.policy=${JSON.stringify(sizedLike(partOf(label), data.rounds))}`],
});

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
