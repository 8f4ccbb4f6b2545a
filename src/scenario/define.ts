/**
 * `defineScenario({ … })`: from what an author writes to a scenario that can be run, or to a list of everything that is
 * wrong with it.
 *
 * A scenario is plain data. Factories such as `flame({ … })` carry theirs as `spec`; functions of the author's own
 * (a strategy, a law of speed, a hook, a claim) stay functions, and scenario.json says where they were.
 */

import type * as z from "zod";
import { InvariantError, ScenarioError } from "../base/errors.ts";
import { isObject } from "../base/field-differences.ts";
import { given } from "../base/given.ts";
import { type Problem, problemsOf, show, throwProblems } from "../base/problem.ts";
import type { Named, Spec } from "../fl/define.ts";
import { policies, policyFromSpec } from "../fl/policies/registry.ts";
import { factsOf as promisesOf, type RoundPolicy } from "../fl/policy.ts";
import type { ClientSampler } from "../fl/sampler.ts";
import { samplerFromSpec, samplers, usualSamplerSpec } from "../fl/samplers/registry.ts";
import { strategies, strategyFromSpec } from "../fl/strategies/registry.ts";
import type { Strategy } from "../fl/strategy.ts";
import { factsOf } from "../tasks/facts.ts";
import { checkScenario } from "./check.ts";
import { type Expectation, fromSpec } from "./expect.ts";
import { policySpecOf, type ScenarioData, type ScenarioFields, scenarioSchema } from "./schema.ts";

type RoundFields = ScenarioFields["rounds"];

/** What an author writes. */
export interface ScenarioInput extends Omit<ScenarioFields, "rounds" | "strategy" | "expect"> {
  readonly rounds: Omit<RoundFields, "policy" | "sampler"> & {
    readonly policy?: RoundPolicy | NonNullable<RoundFields["policy"]>;
    readonly sampler?: ClientSampler | RoundFields["sampler"];
  };
  readonly strategy?: Strategy | ScenarioFields["strategy"];
  readonly expect?: readonly Expectation[];
}

export interface Scenario {
  readonly kind: "scenario";
  readonly data: ScenarioData;
  /** What the author made with code of their own, which `data` cannot hold. */
  readonly own: OwnParts;
}

export interface OwnParts {
  readonly strategy?: Strategy;
  readonly policy?: RoundPolicy;
  readonly sampler?: ClientSampler;
  readonly expect: readonly Expectation[];
}

/** @throws ScenarioError that lists every mistake */
export function defineScenario(input: ScenarioInput): Scenario {
  const { rounds, strategy, expect = [], ...rest } = input;
  const { policy, sampler, ...roundFields } = (rounds ?? {}) as ScenarioInput["rounds"];
  const strategyParts = separate(strategy, strategies);
  const policyParts = separate(policy, policies);
  const samplerParts = separate(sampler, samplers);
  const claims = Array.isArray(expect) ? (expect as readonly Expectation[]) : [];
  const isOwn = (claim: Expectation) => claim?.spec === null;
  const fields = {
    ...rest,
    ...(rounds === undefined
      ? {}
      : { rounds: { ...roundFields, ...given({ policy: policyParts.spec, sampler: samplerParts.spec }) } }),
    ...given({ strategy: strategyParts.spec }),
    expect: Array.isArray(expect)
      ? claims.filter((claim) => !isOwn(claim)).map((claim) => claim?.spec ?? claim)
      : expect,
  };
  return resolve(fields, {
    ...given({ strategy: strategyParts.own, policy: policyParts.own, sampler: samplerParts.own }),
    expect: claims.filter(isOwn),
  });
}

/** From the text of a scenario.json. */
export function scenarioFromJson(value: unknown): Scenario {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ScenarioError(`expected a scenario, an object with name, fleet and rounds, got ${show(value)}`);
  }
  const { own, ...fields } = value as Record<string, unknown>;
  if (Array.isArray(own) && own.length > 0) {
    throw new ScenarioError(
      `the scenario's ${own.join(", ")} came from code that a JSON file cannot hold; run the scenario file itself`,
    );
  }
  return resolve(fields, { expect: [] });
}

/** Checks fields that `configure` has changed. */
export const redefine = (fields: unknown, own: OwnParts): Scenario => resolve(fields, own);

function resolve(fields: unknown, own: OwnParts): Scenario {
  const given = (fields as { name?: unknown }).name;
  const name = typeof given === "string" ? given : "unnamed";
  const { data, error } = scenarioSchema.safeParse(fields);
  if (data === undefined) {
    throwProblems(name, [...problemsOf(scenarioSchema, fields), ...besides(fields, error.issues, own)]);
    throw new InvariantError("a scenario that its schema refuses has no problems");
  }
  throwProblems(name, checkScenario(data, own.policy));
  return { kind: "scenario", data, own };
}

/** What the fields without mistakes say against each other, where they are a scenario without those that have some. */
function besides(fields: unknown, issues: readonly z.core.$ZodIssue[], own: OwnParts): Problem[] {
  const mistaken = issues.flatMap((issue) =>
    issue.code === "unrecognized_keys" ? issue.keys.map((key) => [...issue.path, key]) : [issue.path],
  );
  const rest = scenarioSchema.safeParse(mistaken.reduce(without, fields));
  return rest.success ? checkScenario(rest.data, own.policy) : [];
}

function without(value: unknown, [key, ...below]: readonly PropertyKey[]): unknown {
  if (key === undefined || !isObject(value)) return value;
  if (Array.isArray(value)) return value.map((item, at) => (at === key ? without(item, below) : item));
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, inner]) => {
      if (name !== key) return [[name, inner]];
      return below.length === 0 ? [] : [[name, without(inner, below)]];
    }),
  );
}

/** Does a scenario.json name parts that it cannot hold? */
export const hasCode = (json: string): boolean => {
  const { own } = JSON.parse(json) as { own?: unknown };
  return Array.isArray(own) && own.length > 0;
};

/** The scenario as scenario.json holds it: runnable again, unless `own` names parts that were code. */
export function scenarioToJson({ data, own }: Scenario): string {
  const code: string[] = [];
  if (own.strategy !== undefined) code.push("strategy");
  if (own.policy !== undefined) code.push("rounds.policy");
  if (own.sampler !== undefined) code.push("rounds.sampler");
  for (const { claim } of own.expect) code.push(`expect "${claim}"`);
  const plain = JSON.stringify(data, (key, value: unknown) => {
    if (typeof value !== "function") return value;
    code.push(`function ${key}`);
    return { function: value.name || key };
  });
  const fields = JSON.parse(plain) as Record<string, unknown>;
  return `${JSON.stringify(code.length === 0 ? fields : { ...fields, own: code }, null, 2)}\n`;
}

/** What shapes a run: whatever is claimed of it, it comes to the same. */
export const withoutClaims = ({ kind, data, own }: Scenario): Scenario => ({
  kind,
  data: { ...data, expect: [] },
  own: { ...own, expect: [] },
});

export function strategyOf({ data, own }: Scenario): Strategy {
  const strategy = own.strategy ?? strategyFromSpec(data.strategy);
  const { heldOutPerClient: validation } = data.data;
  return validation === undefined ? strategy : { ...strategy, validation };
}

export const samplerOf = ({ data, own }: Scenario): ClientSampler =>
  own.sampler ?? samplerFromSpec(data.rounds.sampler);

export const policyOf = ({ data, own }: Scenario): RoundPolicy => own.policy ?? policyFromSpec(policySpecOf(data));

export function expectationsOf({ data, own }: Scenario): Expectation[] {
  const { symbol } = factsOf(data.task.type).budget;
  return [...data.expect.map((spec) => fromSpec(spec, symbol)), ...own.expect];
}

/** A factory's product is told by its spec; one whose spec names nothing known is the author's own. */
function separate<Part extends Named>(
  value: unknown,
  { entries }: { readonly entries: ReadonlyMap<string, { fromSpec(spec: Spec): Part }> },
): { readonly spec?: unknown; readonly own?: Part } {
  if (value === undefined) return {};
  const isPart = typeof value === "object" && value !== null && "spec" in value && "name" in value;
  if (!isPart) return { spec: value };
  const { spec } = value as Part;
  return entries.has(spec?.type) ? { spec } : { own: value as Part };
}

/** What a scenario says of its rounds although its strategy or its policy brings its own. */
export function unusedFields(scenario: Scenario): string[] {
  const { data, own } = scenario;
  const { policy, sampler, deadline, minUpdates, overSelection } = data.rounds;
  const strategy = strategyOf(scenario);
  const isNamed = own.sampler !== undefined || sampler.type !== usualSamplerSpec.type;
  const unused: string[] = [];
  if (strategy.sampler !== undefined && isNamed) {
    unused.push(`rounds.sampler is not used: strategy ${strategy.name} chooses its clients itself`);
  }
  const hasPolicy = policy !== undefined || own.policy !== undefined;
  const rule = policyOf(scenario);
  if (strategy.finishesAlways === true && !rule.carriesOver && promisesOf(rule).minUpdates > 1) {
    const field = hasPolicy ? "rounds.policy.minUpdates" : "rounds.minUpdates";
    unused.push(
      `${field} is how many clients have to be there, no more: ${strategy.name} finishes rounds of fewer updates`,
    );
  }
  for (const field of ["base", "warmStart", "stop"] as const) {
    if (data.timingOnly && data[field] !== undefined) unused.push(`${field} is not used: nothing is trained`);
  }
  if (!hasPolicy) return unused;
  const stated = { deadline: deadline !== null, minUpdates: minUpdates !== 1, overSelection: overSelection !== 1 };
  return [
    ...unused,
    ...Object.entries(stated).flatMap(([field, isStated]) =>
      isStated ? [`rounds.${field} is not used: the round policy brings its own`] : [],
    ),
  ];
}
