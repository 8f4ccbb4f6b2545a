/** Mistakes that no field shows by itself: what contradicts what, before anything runs. */
import { expected, type Problem, under } from "../base/problem.ts";
import { checkPolicy, policyFromSpec, policySpecSchema } from "../fl/policies/registry.ts";
import type { RoundPolicy } from "../fl/policy.ts";
import { stopProblems } from "../records/stopping.ts";
import { checkRegions, clientsIn } from "../sim/fleet/fleet-spec.ts";
import { checkWorld } from "../sim/world-spec.ts";
import type { OpenedTask } from "../tasks/kind.ts";
import { checkEffort } from "./effort.ts";
import { policySpecOf, type ScenarioData } from "./schema.ts";

/** What the scenario alone shows. @param own a policy of the author's, in the place of the one that `data` names */
export function checkScenario(data: ScenarioData, own?: RoundPolicy): Problem[] {
  const spec = policySpecOf(data);
  const policy = own ?? (policySpecSchema.safeParse(spec).success ? policyFromSpec(spec) : null);
  return [
    ...checkNames(data),
    ...checkRounds(data),
    ...(policy === null ? [] : checkEffort(data, policy)),
    ...checkAttackers(data),
    ...checkSizes(data),
    ...checkClaims(data),
    ...stopProblems(data.stop, data.task.type, data.evaluateAt ?? null),
  ];
}

/** Regions, tiers and clients that fleet and world speak of. Labels are known only when the data is. */
function checkNames({ fleet, regions, world, timingOnly, data }: ScenarioData): Problem[] {
  const names = {
    size: clientsIn(fleet),
    tierNames: fleet.map(({ name }) => name),
    regionNames: regions?.map(({ name }) => name) ?? ["everywhere"],
  };
  const hasLabels = !timingOnly || data.sizes === undefined;
  const traits = hasLabels ? { labels: 1, minLabel: [], maxLabel: [], labelCount: [] } : undefined;
  return [...checkRegions(fleet, regions), ...under("world", checkWorld(world, names, traits))];
}

function checkAttackers({ attackers, fleet }: ScenarioData): Problem[] {
  const names = fleet.map(({ name }) => name);
  return attackers.flatMap(({ tier }, at) =>
    tier === undefined || names.includes(tier)
      ? []
      : [expected(`attackers[${at}].tier`, `one of ${names.join(", ")}`, tier)],
  );
}

function checkRounds(data: ScenarioData): Problem[] {
  const { rounds } = data;
  const size = clientsIn(data.fleet);
  const problems: Problem[] = [];
  if (rounds.policy === undefined) {
    if (rounds.cohort > size) {
      problems.push({ path: "rounds.cohort", text: `is ${rounds.cohort}, but the fleet has ${size} clients` });
    }
    const invited = Math.min(size, Math.ceil(rounds.cohort * rounds.overSelection));
    if (rounds.minUpdates > Math.min(rounds.cohort, invited)) {
      problems.push({
        path: "rounds.minUpdates",
        text: `is ${rounds.minUpdates}, but a round ends with ${Math.min(rounds.cohort, invited)} updates`,
      });
    }
    return problems;
  }
  const spec = policySpecOf(data);
  if (!policySpecSchema.safeParse(spec).success && typeof spec.type !== "string") {
    return [expected("rounds.policy", "a round policy such as fedbuff({ … })", spec)];
  }
  return under("rounds.policy", checkPolicy(spec, { fleetSize: size }));
}

/** Generated examples are counted before any is made; the lines of a file are not. */
function checkSizes(data: ScenarioData): Problem[] {
  const { source, heldOut, partition, sizes } = data.data;
  const clients = clientsIn(data.fleet);
  const problems: Problem[] = [];
  if (sizes !== undefined && !data.timingOnly) {
    problems.push({ path: "data.sizes", text: "is given, but only a run with timingOnly: true does without data" });
  }
  if (
    partition !== undefined &&
    !["iid", "contiguous"].includes(partition.type) &&
    typeof sizes?.examplesPerClient === "object"
  ) {
    const what = "a number, the mean that data.partition spreads";
    problems.push(expected("data.sizes.examplesPerClient", what, sizes.examplesPerClient));
  }
  if (sizes !== undefined && partition?.type === "function") {
    problems.push({ path: "data.partition", text: "is a function of examples, and data.sizes stands in for them" });
  }
  if (source.type !== "instructions" || (data.timingOnly && sizes !== undefined)) return problems;
  const training = heldOut < 1 ? source.examples * (1 - heldOut) : source.examples - heldOut;
  const each = partition !== undefined && "minimum" in partition ? Math.max(1, partition.minimum) : 1;
  if (heldOut >= source.examples) {
    problems.push({ path: "data.heldOut", text: `is ${heldOut}, but there are ${source.examples} examples` });
  } else if (clients * each > training) {
    problems.push({
      path: "data.partition",
      text:
        `deals ${Math.floor(training)} training examples to ${clients} clients${each > 1 ? `, at least ${each} each` : ""}; ` +
        "expected fewer clients or more examples",
    });
  }
  return problems;
}

function checkClaims({ expect, timingOnly, evaluateAt }: ScenarioData): Problem[] {
  const problems: Problem[] = [];
  for (const [at, claim] of expect.entries()) {
    if (!("at" in claim) || claim.at === undefined || timingOnly || evaluateAt === undefined) continue;
    if (!evaluateAt.includes(claim.at)) {
      problems.push({
        path: `expect[${at}].at`,
        text: `is ${claim.at}, but the run is evaluated at k = ${evaluateAt.join(", ")}`,
      });
    }
  }
  return problems;
}

/** What shows once it is known what is trained. */
export function checkAgainstTask(data: ScenarioData, task: Pick<OpenedTask, "budgetProblem" | "problems">): Problem[] {
  const problems: Problem[] = [...task.problems];
  const check = (path: string, budget: number): void => {
    const problem = task.budgetProblem(budget);
    if (problem !== null) problems.push({ path, text: `is ${budget}, but ${problem}` });
  };
  for (const [at, { budget }] of data.fleet.entries()) {
    if (typeof budget === "number") check(`fleet[${at}].budget`, budget);
    else for (const [i, k] of budget.allowed.entries()) check(`fleet[${at}].budget.allowed[${i}]`, k);
  }
  for (const [at, k] of (data.evaluateAt ?? []).entries()) check(`evaluateAt[${at}]`, k);
  for (const [at, { budget }] of (data.calibration?.budgets ?? []).entries()) {
    check(`calibration.budgets[${at}].budget`, budget);
  }
  for (const [at, claim] of data.expect.entries()) {
    if ("at" in claim && claim.at !== undefined) check(`expect[${at}].at`, claim.at);
  }
  return problems;
}
