/**
 * Phones take part at night, on the charger. How much slower do rounds get by day, and does it help when the fleet is
 * spread over all time zones?
 *
 * Nothing is trained: only devices, network and rounds are simulated.
 *
 *   npx flame run diurnal
 */
import {
  days,
  defineScenario,
  expectThat,
  hours,
  megabits,
  minutes,
  type RoundMetrics,
  type ScenarioInput,
} from "flame-sim";

/** Rounds that closed between 22:00 and 6:00, per round that closed between 10:00 and 18:00. */
function nightPerDay(rows: readonly RoundMetrics[]): number {
  const hourOf = ({ closedAt }: RoundMetrics) => (closedAt / hours(1)) % 24;
  const within = (from: number, until: number) =>
    rows.filter((row) => row.round > 0 && (hourOf(row) - from + 24) % 24 < (until - from + 24) % 24).length;
  return within(22, 6) / Math.max(1, within(10, 18));
}

const fleet = (timeZones: number) =>
  ({
    timingOnly: true,
    seed: 3,
    data: { sizes: { examplesPerClient: { type: "log-normal", mean: 200, cv: 0.5 }, tokensPerExample: 60 } },
    fleet: [
      {
        name: "phone",
        clients: 600,
        budget: 1,
        tokensPerSecond: { type: "log-normal", median: 300, sigma: 0.5 },
        uplink: megabits(10),
        latency: 60,
      },
    ],
    world: {
      availability: [
        // A tenth of the phones on average; four times as many at two at night as at two in the afternoon.
        {
          type: "two-state",
          onShare: 0.1,
          meanOn: hours(1),
          diurnal: { amplitude: 0.6, peakAt: hours(2), timeZones: { spread: hours(timeZones) } },
        },
      ],
    },
    // A phone that has taken part rests for five rounds, so by day a round has to wait for others.
    rounds: { count: 250, cohort: 30, minUpdates: 20, deadline: minutes(10), minimumGap: 5, patience: days(1) },
    trace: "digest",
  }) satisfies Omit<ScenarioInput, "name">;

export default [
  defineScenario({
    ...fleet(0),
    name: "one-zone",
    question: "How much slower are rounds by day when all phones live in one time zone?",
    expect: [
      expectThat("at least half as many rounds again close by night as by day", ({ rows }) => {
        const ratio = nightPerDay(rows);
        return { holds: ratio > 1.5, found: `${ratio.toFixed(2)} times as many` };
      }),
    ],
  }),
  defineScenario({
    ...fleet(24),
    name: "round-the-world",
    question: "Are rounds equally fast all day when the phones live all around the world?",
    expect: [
      expectThat("night and day close about as many rounds", ({ rows }) => {
        const ratio = nightPerDay(rows);
        return { holds: ratio > 0.7 && ratio < 1.4, found: `${ratio.toFixed(2)} times as many by night` };
      }),
    ],
  }),
];
