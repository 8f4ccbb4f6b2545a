/**
 * How long should a round wait for stragglers? A short deadline makes rounds fast and always loses the same slow
 * devices; a long one hears everybody and waits for the slowest.
 *
 * Device speeds are spread as those of phones on the market. Nothing is trained.
 *
 *   npx flame run straggler-deadline
 */
import { aiBenchmark, defineScenario, expectThat, type Findings, flashLink, minutes } from "flame-sim";

const clients = 400;

/** Share of the fleet that was ever counted, and mean minutes of a round. */
function reached({ rows }: Findings): { share: number; minutesPerRound: number } {
  const last = rows.at(-1)!;
  return { share: last.distinctClients / clients, minutesPerRound: last.closedAt / last.round / minutes(1) };
}

const withDeadline = (wait: number, least: number, most: number) =>
  defineScenario({
    name: `deadline-${wait}-min`,
    question: `Who is heard when a round ends after ${wait} ${wait === 1 ? "minute" : "minutes"}?`,
    seed: 2,
    timingOnly: true,
    data: { sizes: { examplesPerClient: 100, tokensPerExample: 60 } },
    fleet: [{ name: "phone", clients, budget: 1, speed: aiBenchmark(50), link: flashLink(0.5), latency: 60 }],
    world: { compute: { noise: { type: "log-normal", mean: 1, cv: 0.2 } } },
    rounds: { count: 100, cohort: 20, deadline: minutes(wait), minUpdates: 1 },
    trace: "digest",
    expect: [
      expectThat(`between ${least * 100} and ${most * 100} % of the fleet are ever counted`, (findings) => {
        const { share, minutesPerRound } = reached(findings);
        return {
          holds: share >= least && share <= most,
          found: `${(share * 100).toFixed(1)} %, with rounds of ${minutesPerRound.toFixed(1)} minutes`,
        };
      }),
    ],
  });

export default [
  withDeadline(1, 0.2, 0.45),
  withDeadline(2, 0.4, 0.7),
  withDeadline(5, 0.75, 0.95),
  withDeadline(15, 0.95, 1),
];
