/** Features of devices, network, availability, faults and the script. */
import type { Draws } from "../../../src/base/random.ts";
import { hook } from "../../../src/sim/script/effects.ts";
import type { TimelineEntry } from "../../../src/sim/script/timeline.ts";
import {
  anyTier,
  type Draft,
  type Feature,
  type Fields,
  hour,
  law,
  left,
  lost,
  minute,
  pick,
  probability,
  second,
  span,
  spread,
  whole,
} from "./features.ts";

/** Whom an effect is about; names that exist. */
function target(draft: Draft, draws: Draws): unknown {
  const names = draft.regions.map(({ name }) => name);
  return pick(draws, [
    "all",
    anyTier(draft, draws).name,
    ...(names.length > 0 ? [pick(draws, names)] : []),
    { clients: [draws.below(draft.clients)] },
  ]);
}

/** Something that happens to the world by the script, and comes to an end. */
function scripted(draft: Draft, draws: Draws, effect: Fields): void {
  const length = (most: number) => Math.ceil(span(draws, second, most) * draft.severity);
  const entry = pick(draws, [
    () => ({ type: "at", at: span(draws, second, hour), effect: { ...effect, duration: length(hour) } }),
    () => {
      const from = span(draws, second, hour);
      return { type: "between", from, until: from + length(hour), effect };
    },
    () => {
      const period = span(draws, minute, hour);
      const from = span(draws, second, hour);
      const duration = length(period);
      return { type: "every", period, from, until: from + 5 * period, effect: { ...effect, duration } };
    },
  ])();
  draft.timeline.push(entry as unknown as TimelineEntry);
}

export const worldFeatures: Readonly<Record<string, Feature>> = {
  regions(draft, draws) {
    draft.regions = ["north", "south", "west"]
      .slice(0, whole(draws, 2, 3))
      .map((name, at) => ({ name, share: at + 1 }));
    if (draws.bernoulli(0.5)) anyTier(draft, draws).region = "south";
  },
  speedLaw(draft, draws) {
    const tier = anyTier(draft, draws);
    delete tier.tokensPerSecond;
    tier.speed = pick(draws, [
      { type: "tokens-per-second", law: law(draws, 500) },
      { type: "seconds-per-token", law: law(draws, 0.002) },
      { type: "zipf", fastest: 2_000, exponent: 0.8 },
      { type: "pareto", fastest: 2_000, alpha: 1.3 },
      {
        type: "classes",
        tokensPerBatch: 1_000,
        classes: [
          { name: "low", share: 3, mean: 4, sd: 1 },
          { name: "high", share: 1, mean: 0.5, sd: 0.1 },
        ],
      },
      { type: "function", of: (client: number) => 200 + 10 * client },
    ]);
  },
  linkLaw(draft, draws) {
    const tier = anyTier(draft, draws);
    delete tier.uplink;
    tier.link = pick(draws, [
      { type: "rates", down: law(draws, 200_000), up: law(draws, 40_000) },
      {
        type: "log-normal",
        down: { median: 200_000, sigma: 0.6 },
        up: { median: 50_000, sigma: 0.7 },
        correlation: 0.4,
      },
      { type: "function", of: (client: number) => ({ down: 50_000 + client, up: 20_000 + client }) },
    ]);
  },
  deviceTrace(draft, draws) {
    const tier = anyTier(draft, draws);
    delete tier.tokensPerSecond;
    tier.speed = { type: "trace" };
    const records = [100, 900, 4_000].map((tokensPerSecond) => ({ tokensPerSecond }));
    tier.trace = { records, assignment: pick(draws, ["cycle", "random"]) };
  },
  memory(draft, draws) {
    anyTier(draft, draws).memory = { available: law(draws, 3), fixed: 0.5, perExpert: 1 };
  },
  deadlineBudget(draft, draws) {
    anyTier(draft, draws).budget = { type: "deadline", deadline: span(draws, second, minute), allowed: [1, 2, 4] };
  },
  latency(draft, draws) {
    anyTier(draft, draws).latency = pick(draws, [0, 40, 3_000, law(draws, 200)]);
  },
  tierDropout(draft, draws) {
    anyTier(draft, draws).dropout = lost(draft, pick(draws, [0.1, 0.5, 0.9, 1]));
  },
  // The network.
  taskVariation: ({ network }, draws) => {
    network.taskVariation = { down: draws.uniform(), up: draws.uniform() };
  },
  sharedUplink: ({ network }, draws) => {
    network.sharedUplink = spread(draws, 5_000, 1e6);
  },
  sharedDownlink: ({ network }, draws) => {
    network.sharedDownlink = spread(draws, 5_000, 1e6);
  },
  loss: (draft, draws) => {
    draft.network.loss = lost(draft, probability(draws, 0.6));
  },
  duplication: (draft, draws) => {
    draft.network.duplication = lost(draft, probability(draws, 0.6));
  },
  corruption: (draft, draws) => {
    draft.network.corruption = lost(draft, probability(draws, 0.4));
  },
  reordering: ({ network }, draws) => {
    network.reordering = { probability: draws.uniform(), maxDelay: span(draws, 10, 2 * minute) };
  },
  retry: ({ network }, draws) => {
    network.retry = { timeout: span(draws, 100, minute), attempts: whole(draws, 1, 6) };
  },
  // Devices from day to day.
  noise: ({ compute }, draws) => {
    compute.noise = { type: "log-normal", mean: 1, cv: 1.5 * draws.uniform() };
  },
  duration: ({ compute }, draws) => {
    compute.duration = law(draws, 10);
  },
  // Who is there.
  bernoulli: (draft, draws) => {
    draft.availability.push({
      type: "bernoulli",
      probability: left(draft, pick(draws, [0.1, 0.5, 0.9])),
      slot: span(draws, 10 * second, hour),
    });
  },
  twoState: (draft, draws) => {
    const onShare = left(draft, pick(draws, [0.3, 0.6, 0.95]));
    // At its peak the share is still a share.
    const amplitude = 0.5 * Math.min(1, 1 / onShare - 1) * draws.uniform();
    const diurnal = { amplitude, peakAt: draws.below(24 * hour), timeZones: { spread: 6 * hour } };
    draft.availability.push({
      type: "two-state",
      onShare,
      meanOn: span(draws, 30 * second, 2 * hour),
      ...(draws.bernoulli(0.3) ? { diurnal } : {}),
    });
  },
  diurnal: (draft, draws) => {
    const share = left(draft, 0.5);
    draft.availability.push({
      type: "diurnal",
      share,
      slot: span(draws, minute, hour),
      // At its peak the share is still a share.
      amplitude: draws.uniform() * Math.min(1, 1 / share - 1),
      peakAt: draws.below(24 * hour),
    });
  },
  charging: (draft, draws) => {
    const plugAt = { mean: draws.below(24 * hour), sd: hour };
    const wifi = pick(draws, [0.5, 1]);
    const isMild = draft.severity < 1;
    // In a mild world most are plugged in all night, and for most of the day.
    const gentle = {
      plugAt: { mean: 20 * hour, sd: hour },
      length: { mean: 12 * hour, sd: hour },
      dayCharges: { perDay: 6, meanLength: Math.ceil(hour / draft.severity) },
      wifi: left(draft, wifi),
    };
    draft.availability.push({ type: "charging", ...(isMild ? gentle : { plugAt, wifi }) });
  },
  dataRule: (draft, draws) => {
    draft.availability.push({
      type: "data",
      rule: pick(draws, ["HOMO", "LN", "SLN", "MDF", "LDF"]),
      beta: lost(draft, pick(draws, [0.1, 0.5, 0.8])),
      slot: span(draws, 10 * second, hour),
    });
  },
  trace: (draft, draws) => {
    const period = span(draws, 10 * minute, 6 * hour);
    const windows = (from: number, until: number) => [
      [Math.floor(lost(draft, from) * period), Math.floor(left(draft, until) * period)],
    ];
    draft.availability.push({
      type: "trace",
      period,
      devices: [
        windows(0, 0.5),
        windows(0.25, 1),
        draft.severity === 1 ? [...windows(0, 0.1), ...windows(0.6, 0.9)] : windows(0.6, 0.9),
      ],
      assignment: pick(draws, ["cycle", "random"]),
    });
  },
  onIneligible: ({ world }, draws) => {
    world.onIneligible = pick(draws, ["abort", "abort-at-end-check", "pause"]);
  },
  churn: (draft, draws) => {
    draft.world.churn = {
      presentAtStart: left(draft, pick(draws, [0.3, 0.8, 1])),
      meanWait: span(draws, minute, 4 * hour),
      meanStay: Math.ceil(span(draws, 10 * minute, 24 * hour) / draft.severity),
    };
  },
  battery: (draft, draws) => {
    draft.world.battery = {
      capacityWattHours: spread(draws, 0.01, 20) / draft.severity,
      idlePerHour: lost(draft, probability(draws, 0.2)),
      minimumLevel: lost(draft, 0.5 * draws.uniform()),
      ...(draws.bernoulli(0.5) ? { charging: { plugAt: { mean: draws.below(24 * hour), sd: hour } } } : {}),
    };
  },
  // Faults.
  faultsPerPhase: (draft, draws) => {
    for (const phase of ["beforeDownload", "download", "training", "upload", "acknowledge"]) {
      if (draws.bernoulli(0.6)) draft.faults[phase] = lost(draft, probability(draws, 0.4));
    }
  },
  crash: (draft, draws) => {
    draft.faults.crash = lost(draft, probability(draws, 0.5));
  },
  corruptedUpdate: (draft, draws) => {
    draft.faults.corruptedUpdate = lost(draft, probability(draws, 0.5));
  },
  hazard: (draft, draws) => {
    draft.faults.hazardPerHour = lost(draft, spread(draws, 0.1, 200));
  },
  roundRate: (draft, draws) => {
    draft.faults.roundRate = pick(draws, [
      { type: "beta", mean: lost(draft, 0.3), correlation: 0.3 },
      { type: "exponential", rate: 5 / draft.severity },
    ]);
  },
  shocks: (draft, draws) => {
    draft.faults.shocks = { probability: lost(draft, probability(draws, 0.5)), severity: draws.uniform() };
  },
  swizzle: (draft, draws) => {
    draft.faults.swizzle = {
      window: span(draws, 10 * second, hour),
      share: lost(draft, draws.uniform()),
      probability: draws.uniform(),
    };
  },
  // The script.
  outage: (draft, draws) => scripted(draft, draws, { type: "outage", target: target(draft, draws) }),
  partition: (draft, draws) => scripted(draft, draws, { type: "partition", target: target(draft, draws) }),
  slowdown: (draft, draws) =>
    scripted(draft, draws, { type: "slowdown", target: target(draft, draws), factor: spread(draws, 0.2, 20) }),
  bandwidth: (draft, draws) =>
    scripted(draft, draws, { type: "bandwidth", target: target(draft, draws), factor: spread(draws, 0.05, 5) }),
  serverRestart: (draft, draws) => scripted(draft, draws, { type: "server-restart" }),
  setDropout: (draft, draws) =>
    scripted(draft, draws, {
      type: "dropout",
      target: target(draft, draws),
      probability: lost(draft, draws.uniform()),
    }),
  messageLoss: (draft, draws) =>
    scripted(draft, draws, { type: "message-loss", probability: lost(draft, 0.9 * draws.uniform()) }),
  crashes(draft, draws) {
    const effect = { type: "crash", target: target(draft, draws) };
    const entry = { type: "every", period: span(draws, minute, hour), from: span(draws, second, hour), effect };
    draft.timeline.push(entry as unknown as TimelineEntry);
  },
  hook({ timeline }, draws) {
    const period = span(draws, minute, hour);
    const effect = hook((sim) => {
      const busy = sim.busyClients();
      if (busy.length > 0 && sim.draws.bernoulli(0.5)) {
        sim.inject({ type: "crash", target: { clients: [busy[sim.draws.below(busy.length)]!] } });
      }
    });
    timeline.push({ type: "every", period, from: period, effect });
  },
};
