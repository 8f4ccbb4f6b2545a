/** From a seed and a set of switches to a scenario. */
import { type Draws, Rng } from "../../../src/base/random.ts";
import { defineScenario, type Scenario, type ScenarioInput } from "../../../src/scenario/define.ts";
import { shape } from "../scenarios.ts";
import { type Draft, type Feature, pick, spread, whole } from "./features.ts";
import { folderFeatures, roundFeatures, taskFeatures, trainingFeatures } from "./round-features.ts";
import { worldFeatures } from "./world-features.ts";

/**
 * `timing`: fleet, network and rounds alone. `toy`: trains an engine without a model. `training`: trains a tiny model
 * with the real engine. `disk`: as `timing`, or a small table that is learned from, in a folder on a disk that fails.
 */
export type Kind = (typeof kinds)[number];

export const kinds = ["timing", "toy", "training", "disk"] as const;

const isTimed = (kind: Kind): boolean => kind === "timing" || kind === "disk";

/** Everything that makes a swarm scenario; plain data. */
export interface Case {
  readonly kind: Kind;
  readonly seed: number;
  /** Features that the seed has and this case does not. */
  readonly without: readonly string[];
  /** In (0, 1]: of the number of clients and rounds. */
  readonly scale: number;
  /** Everything is switched on at once, but for what excludes one another. */
  readonly all: boolean;
}

export const caseOf = (kind: Kind, seed: number, all = false): Case => ({ kind, seed, without: [], scale: 1, all });

/** A case that once failed, as test/support/swarm/regressions.json keeps it: by what it has, since features are added. */
export interface Regression {
  readonly kind: Kind;
  readonly seed: number;
  readonly scale: number;
  readonly all?: boolean;
  readonly features: readonly string[];
  /** What it was when it was found. */
  readonly found: string;
}

export const regressionOf = (swarm: Case, found: string): Regression => ({
  kind: swarm.kind,
  seed: swarm.seed,
  scale: swarm.scale,
  ...(swarm.all ? { all: true } : {}),
  features: featuresOf(swarm),
  found,
});

export function caseAgain({ kind, seed, scale, all = false, features }: Regression): Case {
  const without = Object.keys(featuresFor(kind)).filter((name) => !features.includes(name));
  return { kind, seed, scale, all, without };
}

/** How many features a seed has on average, as a share of all: some see the world nearly calm, some see everything. */
const densities = [0.05, 0.15, 0.3, 0.6, 1];

/** The order matters: what comes later may look at what came before. */
const featuresFor = (kind: Kind): Readonly<Record<string, Feature>> => ({
  ...worldFeatures,
  ...roundFeatures,
  ...(isTimed(kind) ? {} : trainingFeatures),
  ...(kind === "training" ? taskFeatures : {}),
  ...(kind === "disk" ? folderFeatures : {}),
});

/** A round has one policy: each of these takes the place of the others. */
const policies = ["goal", "fedbuff", "fedasync", "semiSynchronous"];
/** How hard a world is in which everything is on. */
const severities = [0.01, 0.03, 0.1, 0.2];

/** The names of what is switched on. */
export function featuresOf({ kind, seed, without, all }: Case): string[] {
  const rng = new Rng(seed);
  if (all) {
    const draws = rng.at("swarm alternatives").at(0);
    const policy = pick(draws, policies);
    const hasDeadline = draws.bernoulli(0.7);
    return Object.keys(featuresFor(kind)).filter(
      (name) =>
        (name === policy || !policies.includes(name)) &&
        !(name === "noDeadline" && hasDeadline) &&
        !without.includes(name),
    );
  }
  const density = densities[rng.at("swarm density").at(0).below(densities.length)]!;
  const names = Object.keys(featuresFor(kind));
  return names.filter((name) => rng.at(`swarm has ${name}`).at(0).bernoulli(density) && !without.includes(name));
}

export function scenarioOf(swarm: Case): Scenario {
  const { kind, seed, scale } = swarm;
  const rng = new Rng(seed);
  const severity = swarm.all ? pick(rng.at("swarm severity").at(0), severities) : 1;
  const draft = sketch(swarm, severity, rng.at("swarm sketch").at(0));
  const features = featuresFor(kind);
  for (const name of featuresOf(swarm)) features[name]!(draft, rng.at(`swarm ${name}`).at(0));
  const { fleet, regions, network, compute, availability, faults, timeline, world, rounds, training, data, rest } =
    draft;
  const fields = {
    name: `swarm-${kind}-${seed}${swarm.all ? "-all" : ""}${scale === 1 ? "" : "-small"}`,
    seed,
    fleet,
    ...(regions.length === 0 ? {} : { regions }),
    world: { ...world, network, compute, availability, faults, timeline },
    rounds,
    training,
    data,
    ...rest,
  };
  return defineScenario(fields as unknown as ScenarioInput);
}

function sketch({ kind, scale, all }: Case, severity: number, draws: Draws): Draft {
  const scaled = (least: number, most: number) => Math.max(least, Math.round(scale * whole(draws, least, most)));
  const tiers = all ? 3 : whole(draws, 1, 3);
  const fleet = ["phone", "laptop", "edge"].slice(0, tiers).map((name, at) => ({
    name,
    clients: scaled(2, isTimed(kind) ? 14 : 6),
    budget: [1, 2, 4][at]!,
    tokensPerSecond: spread(draws, 100, 5_000),
    uplink: spread(draws, 10_000, 1e6),
  }));
  const clients = fleet.reduce((sum, tier) => sum + tier.clients, 0);
  const rounds = {
    count: scaled(1, isTimed(kind) ? 8 : 4),
    cohort: Math.min(clients, scaled(1, isTimed(kind) ? 10 : 5)),
    deadline: Math.ceil(spread(draws, 2_000, 600_000)),
    patience: Math.ceil(spread(draws, 60_000, 3_600_000)),
    // A command refuses a world in which nobody can be counted.
    ...(kind === "disk" ? { mayStayEmpty: true } : {}),
  };
  return {
    fleet,
    regions: [],
    network: {},
    compute: {},
    availability: [],
    faults: {},
    timeline: [],
    world: {},
    rounds,
    training: isTimed(kind) ? {} : { batchSize: 4, learningRate: 1e-2, maxSteps: 2 },
    data: isTimed(kind)
      ? { sizes: { examplesPerClient: { type: "log-normal", mean: 40, cv: 0.5 }, tokensPerExample: 60 } }
      : { source: { type: "instructions", examples: 150 }, partition: { type: "dirichlet", alpha: 1 }, maxTokens: 96 },
    rest: isTimed(kind) ? { model: shape, timingOnly: true } : { lora: { rank: 2, alpha: 4 }, evaluationExamples: 8 },
    clients,
    severity,
  };
}
