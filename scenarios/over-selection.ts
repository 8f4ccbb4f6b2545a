/**
 * Does inviting more clients than needed make rounds faster, and what does it cost in wasted work?
 *
 * Response times are exponential with a mean of one minute, so theory says how long the K-th of n takes:
 * E T = mean · (1/n + 1/(n − 1) + … + 1/(n − K + 1)). Nothing is trained.
 *
 *   npx flame run over-selection
 */
import { defineScenario, expectThat, type Findings, hours, minutes } from "flame-sim";

const cohort = 50;

/** Mean time of a round, in minutes. */
const measured = ({ rows }: Findings): number =>
  rows.slice(1).reduce((sum, { startedAt, closedAt }) => sum + closedAt - startedAt, 0) /
  (rows.length - 1) /
  minutes(1);

function expected(invited: number): number {
  let sum = 0;
  for (let n = invited; n > invited - cohort; n--) sum += 1 / n;
  return sum;
}

const inviting = (factor: number) =>
  defineScenario({
    name: `invite-${factor}`,
    question: `How long does a round take that needs ${cohort} updates and invites ${cohort * factor} clients?`,
    seed: 4,
    timingOnly: true,
    data: { sizes: { examplesPerClient: 10, tokensPerExample: 60 } },
    fleet: [{ name: "device", clients: 1_000, budget: 2, tokensPerSecond: 1_000, uplink: 1e12 }],
    world: { compute: { duration: { type: "exponential", mean: 60 } } },
    rounds: { count: 200, cohort, overSelection: factor, minUpdates: cohort, deadline: hours(1) },
    trace: "digest",
    expect: [
      expectThat("a round takes as long as the order statistics of its invitations say", (findings) => {
        const [found, theory] = [measured(findings), expected(cohort * factor)];
        return {
          // The mean of 200 rounds; the standard error of the slowest case is 2 %.
          holds: Math.abs(found / theory - 1) < 0.08,
          found: `${found.toFixed(2)} minutes, ${theory.toFixed(2)} expected`,
        };
      }),
    ],
  });

export default [inviting(1), inviting(1.3), inviting(2)];
