/** A run folder as a real run would leave it, from formulas instead of training: curves that fall and level off. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clientId, clientName } from "../../src/base/ids.ts";
import type { Outcome } from "../../src/records/counts.ts";
import type { RoundMetrics, TierMetrics } from "../../src/records/metrics.ts";
import type { ParticipationRow } from "../../src/records/participation.ts";
import { busyUntil } from "../../src/report/slices.ts";

const TIERS = [
  { name: "workstation", clients: 4, budget: 8, speed: 9_000, uplink: 25e6, loss: 0.02 },
  { name: "laptop", clients: 8, budget: 4, speed: 3_000, uplink: 4e6, loss: 0.06 },
  { name: "tablet", clients: 8, budget: 2, speed: 1_100, uplink: 1.5e6, loss: 0.12 },
  { name: "phone", clients: 12, budget: 1, speed: 450, uplink: 0.7e6, loss: 0.25 },
] as const;

export interface FakeRun {
  readonly rounds?: number;
  readonly cohort?: number;
  readonly layers?: number;
  readonly experts?: number;
  readonly timingOnly?: boolean;
  /** Whether the learning rate falls from round to round. */
  readonly scheduled?: boolean;
}

/** Writes the folder's inputs and returns its path; the caller removes it. */
export function fakeRunFolder(options: FakeRun = {}): string {
  const folder = mkdtempSync(join(tmpdir(), "flame-report-"));
  const { metrics, participations } = fakeRun(options);
  const lines = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  writeFileSync(join(folder, "metrics.jsonl"), lines(metrics));
  writeFileSync(join(folder, "participations.jsonl"), lines(participations));
  writeFileSync(join(folder, "scenario.json"), JSON.stringify(fakeScenario));
  writeFileSync(join(folder, "result.json"), JSON.stringify(fakeResult));
  return folder;
}

const fakeScenario = {
  name: "four-tiers",
  question:
    "Do experts that only strong devices can afford still learn, when most of the fleet activates <one> expert per token?",
  seed: 42,
  fleet: TIERS.map(({ name, clients, budget }) => ({ name, clients, budget })),
  strategy: { type: "flame", frequencyExponent: 2 },
  model: { layers: 4, width: 128, experts: 16, topK: 8 },
};

const fakeResult = {
  digest: "9f2c54b1e0a37d6688c1f0d2a4b3e5f7",
  continuedDespite: ["its data file has changed since"],
  made: { engine: "onnx", merge: "8 clients a call" },
  expectations: [
    { name: "loss falls by 0.2", held: true, detail: "2.980 → 1.541 at k = 8" },
    { name: "every expert trained", held: false, detail: "expert 13 of layer 2 received no token" },
  ],
};

/** A small linear congruential generator: the same folder every time. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

export function fakeRun({
  rounds = 20,
  cohort = 16,
  layers = 4,
  experts = 16,
  timingOnly = false,
  scheduled = false,
}: FakeRun = {}): {
  metrics: RoundMetrics[];
  participations: ParticipationRow[];
} {
  const random = generator(7);
  const fleet = TIERS.flatMap((tier) => Array.from({ length: tier.clients }, () => tier));
  const metrics: RoundMetrics[] = [];
  const participations: ParticipationRow[] = [];
  const heard = new Set<string>();
  const taste = Array.from({ length: layers }, () => Array.from({ length: experts }, () => random()));
  let now = 0;
  let downloadBytes = 0;
  let uploadBytes = 0;
  for (let round = 0; round <= rounds; round++) {
    const startedAt = now;
    const deadline = startedAt + 150_000;
    const rows: ParticipationRow[] = [];
    if (round > 0) {
      const ids = fleet.map((_, id) => ({ id, draw: random() })).sort((a, b) => a.draw - b.draw);
      for (const { id } of ids.slice(0, Math.min(cohort, fleet.length))) {
        const tier = fleet[id]!;
        const downloadedAt = startedAt + Math.round(60 + (2.4e6 / (tier.uplink * 4)) * 1_000 * (0.8 + 0.4 * random()));
        const trainedAt = downloadedAt + Math.round((48_000 / tier.speed) * 1_000 * (0.6 + 0.9 * random()));
        const arrivedAt = trainedAt + Math.round((2.4e6 / tier.uplink) * 1_000 * (0.8 + 0.6 * random()));
        const base = {
          participation: participations.length + rows.length,
          client: clientName(clientId(id)),
          tier: tier.name,
          round,
          budget: tier.budget,
          invitedAt: startedAt,
        };
        downloadBytes += 2_400_000;
        // Round 7 is an outage, so that one round closes without enough updates.
        if (round === 7 || random() < tier.loss) {
          const lostAt = downloadedAt + Math.round((trainedAt - downloadedAt) * random());
          const endedAt = Math.max(lostAt, deadline);
          const reason = round === 7 ? "outage" : "dropout";
          rows.push({
            ...base,
            downloadedAt,
            trainedAt: null,
            arrivedAt: null,
            lostAt,
            endedAt,
            outcome: "dropped",
            phase: "training",
            reason,
          });
          continue;
        }
        uploadBytes += 2_400_000;
        const late = arrivedAt > deadline;
        const rejected = !late && random() < 0.02;
        const outcome: Outcome = late ? "late" : rejected ? "rejected" : "counted";
        const reason = late ? { reason: "deadline" } : rejected ? { reason: "not-finite" } : {};
        rows.push({ ...base, downloadedAt, trainedAt, arrivedAt, endedAt: arrivedAt, outcome, ...reason });
      }
      now = Math.max(startedAt + 30_000, ...rows.map((row) => Math.min(busyUntil(row), deadline)));
    }
    participations.push(...rows);
    const counted = rows.filter(({ outcome }) => outcome === "counted");
    for (const { client } of counted) heard.add(client);
    const progress = 1 - Math.exp(-round / (0.3 * rounds + 1));
    const drift = taste.map((layer) => layer.map((value) => Math.exp((2.4 * progress + 0.4) * (value - 0.5) * 2)));
    const raw = counted.map(({ client, tier, budget }) => ({ client, tier, weight: (0.5 + random()) * budget ** 0.6 }));
    const total = raw.reduce((sum, { weight }) => sum + weight, 0);
    const of = (outcome: Outcome, tier?: string) =>
      rows.filter((row) => row.outcome === outcome && (tier === undefined || row.tier === tier)).length;
    const outcomes = (tier?: string) => ({
      counted: of("counted", tier),
      late: of("late", tier),
      dropped: of("dropped", tier),
      rejected: of("rejected", tier),
    });
    metrics.push({
      round,
      startedAt,
      closedAt: now,
      invited: rows.length,
      ...outcomes(),
      aggregated: counted.length > 0,
      tiers: TIERS.map(({ name }): TierMetrics => {
        const invited = rows.filter(({ tier }) => tier === name).length;
        return { tier: name, invited, ...outcomes(name) };
      }),
      trainLoss: timingOnly || counted.length === 0 ? null : 2.9 - 1.55 * progress + 0.06 * random(),
      ...(scheduled && round > 0 && { learningRate: 1e-3 * (1 - round / (rounds + 1)) }),
      downloadBytes,
      uploadBytes,
      distinctClients: heard.size,
      evaluations: timingOnly
        ? []
        : TIERS.map(({ budget }, i) => ({
            budget,
            loss: 2.98 + 0.11 * i - (1.44 - 0.2 * i) * progress + 0.02 * random(),
            accuracy: 0.31 - 0.02 * i + (0.38 - 0.05 * i) * progress,
            exactMatch: (0.52 - 0.09 * i) * progress ** 1.6,
          })),
      activation:
        timingOnly || counted.length === 0
          ? []
          : drift.map((layer) => {
              const sum = layer.reduce((a, b) => a + b, 0);
              return layer.map((value) => value / sum);
            }),
      weights: timingOnly ? [] : raw.map((entry) => ({ ...entry, weight: entry.weight / total })),
    });
  }
  return { metrics, participations };
}
