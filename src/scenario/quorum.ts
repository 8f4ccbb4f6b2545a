/**
 * Can any round ever come to something? What is refused is certain: a chance of 1 that everybody meets in every round,
 * clients that are never there, a script that takes them away from the beginning and for good. What is merely unlikely
 * runs. Whoever wants a run in which nobody ever answers, as the end of a curve, says so: `rounds.mayStayEmpty`.
 */
import { type Problem, show } from "../base/problem.ts";
import { quorumOf } from "../fl/policy.ts";
import type { AvailabilitySpec } from "../sim/availability/availability.ts";
import { clientsIn } from "../sim/fleet/fleet-spec.ts";
import { inescapableFaults } from "../sim/flight/faults.ts";
import type { Effect, Target } from "../sim/script/effects.ts";
import { effectOf, firstTime } from "../sim/script/timeline.ts";
import type { WorldSpec } from "../sim/world-spec.ts";
import { policyOf, type Scenario } from "./define.ts";
import type { ScenarioData } from "./schema.ts";

/** Something that keeps clients from ever being counted. */
interface Hindrance {
  readonly path: string;
  readonly got: unknown;
  readonly expected: string;
  stops(client: number, tier: Tier): boolean;
}

type Tier = ScenarioData["fleet"][number];

export function checkQuorum(scenario: Scenario): Problem[] {
  const { data, own } = scenario;
  const { rounds, fleet, world } = data;
  if (own.policy !== undefined || rounds.count === 0 || rounds.mayStayEmpty === true) return [];
  const found = [...ofFaults(world), ...ofAvailability(world), ...ofScript(world), ...ofTiers(data)];
  if (found.length === 0) return [];
  const needed = quorumOf(policyOf(scenario));
  let reporting = 0;
  let client = 0;
  for (const tier of fleet) {
    for (const end = client + tier.clients; client < end && reporting < needed; client++) {
      if (!found.some((hindrance) => hindrance.stops(client, tier))) reporting++;
    }
  }
  if (reporting >= needed) return [];
  const few = reporting === 0 ? "nobody" : `only ${reporting} of ${clientsIn(fleet)} clients`;
  return found.map(({ path, got, expected }) => ({
    path,
    text:
      `is ${show(got)}, expected ${expected}: ${few} could ever be counted, and a round needs ` +
      `${needed === 1 ? "an update" : `${needed} updates`}; with rounds.mayStayEmpty: true it runs all the same`,
  }));
}

const everybody = () => true;
const belowOne = "a probability below 1";
const certain = (path: string, got: number | undefined): Hindrance[] =>
  got === 1 ? [{ path, got, expected: belowOne, stops: everybody }] : [];

function ofFaults(world: WorldSpec): Hindrance[] {
  const { faults, network } = world;
  return [
    ...inescapableFaults(faults)
      .filter(({ replacedBy }) => replacedBy === undefined || !isScripted(world, replacedBy))
      .flatMap(({ path }) => certain(`world.faults.${path}`, 1)),
    ...certain("world.network.loss", isScripted(world, "message-loss") ? 0 : network.loss),
    ...certain("world.network.corruption", network.corruption),
  ];
}

const ofAvailability = ({ availability }: WorldSpec): Hindrance[] =>
  availability.flatMap((spec, i) => absencesOf(`world.availability[${i}]`, spec));

function absencesOf(path: string, spec: AvailabilitySpec): Hindrance[] {
  const never = (field: string, got: number): Hindrance[] =>
    got === 0 ? [{ path: `${path}.${field}`, got, expected: "a number above 0", stops: everybody }] : [];
  switch (spec.type) {
    case "bernoulli":
      return never("probability", spec.probability);
    case "diurnal":
      return never("share", spec.share);
    case "charging":
      return never("wifi", spec.wifi ?? 1);
    case "trace": {
      const { devices, assignment } = spec;
      const isEmpty = devices.map((windows) => windows.length === 0);
      if (!isEmpty.includes(true) || (assignment === "random" && isEmpty.includes(false))) return [];
      const stops = (client: number) => isEmpty[client % devices.length]!;
      return [{ path: `${path}.devices`, got: devices, expected: "windows of time for enough devices", stops }];
    }
    default:
      return [];
  }
}

/** Effects that begin with the run and never end. */
function ofScript(world: WorldSpec): Hindrance[] {
  return world.timeline.flatMap((entry, i): Hindrance[] => {
    const effect = effectOf(entry);
    if (firstTime(entry) !== 0) return [];
    if ("duration" in effect && effect.duration !== undefined) return [];
    const path = `world.timeline[${i}]`;
    const expected = "an effect that begins later or ends";
    switch (effect.type) {
      case "outage":
      case "partition":
        return [{ path, got: effect, expected, stops: covering(effect.target) }];
      case "server-restart":
        return [{ path, got: effect, expected, stops: everybody }];
      case "dropout":
        return effect.probability === 1 && isAlone(world, "dropout")
          ? [{ path: `${path}.effect.probability`, got: 1, expected: belowOne, stops: covering(effect.target) }]
          : [];
      case "message-loss":
        return isAlone(world, "message-loss") ? certain(`${path}.effect.probability`, effect.probability) : [];
      default:
        return [];
    }
  });
}

/** Who is in a region is drawn, unless it is that of a whole tier. */
const covering =
  (target: Target) =>
  (client: number, { name, region }: Tier): boolean =>
    typeof target === "string" ? ["all", name, region].includes(target) : target.clients.includes(client);

function ofTiers({ fleet, world, attackers, timingOnly }: ScenarioData): Hindrance[] {
  const dropouts = isScripted(world, "dropout")
    ? []
    : fleet.flatMap(({ dropout, name }, i): Hindrance[] =>
        certain(`fleet[${i}].dropout`, dropout).map((found) => ({ ...found, stops: (_, tier) => tier.name === name })),
      );
  const broken = attackers.flatMap(({ share, tier, attack }, i): Hindrance[] => {
    // The first entry that strikes a client counts, so those before it may make it one whose updates are finite.
    const isFirst = attackers.slice(0, i).every(({ share, attack }) => share === 0 || attack.type === "non-finite");
    if (timingOnly || attack.type !== "non-finite" || share !== 1 || !isFirst) return [];
    return [{ path: `attackers[${i}].share`, got: 1, expected: "a share below 1", stops: ofTier(tier) }];
  });
  return [...dropouts, ...broken];
}

const ofTier =
  (name: string | undefined) =>
  (_: number, tier: Tier): boolean =>
    name === undefined || tier.name === name;

/** May the script put another probability in the place of the world's? A hook may do anything. */
const isScripted = (world: WorldSpec, type: Effect["type"]): boolean => scripted(world, type) > 0;
const isAlone = (world: WorldSpec, type: Effect["type"]): boolean => scripted(world, type) === 1;
const scripted = ({ timeline }: WorldSpec, type: Effect["type"]): number =>
  timeline.filter(({ effect }) => effect.type === type || effect.type === "hook").length;
