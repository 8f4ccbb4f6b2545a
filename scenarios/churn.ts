/**
 * Clients join over days and leave for good after two. Whose data has the model seen in the end, and does a
 * minimum gap between invitations let more of them be heard?
 *
 * Nothing is trained: only devices, network and rounds are simulated.
 *
 *   npx flame run churn
 */
import {
  days,
  defineScenario,
  expectThat,
  type Findings,
  hours,
  megabits,
  minutes,
  type ScenarioInput,
} from "flame-sim";

const clients = 1_000;

const heard = ({ rows }: Findings): number => rows.at(-1)!.distinctClients / clients;

const fleet = {
  seed: 6,
  timingOnly: true,
  data: { sizes: { examplesPerClient: { type: "log-normal", mean: 100, cv: 1 }, tokensPerExample: 60 } },
  fleet: [
    {
      name: "phone",
      clients,
      budget: 1,
      tokensPerSecond: { type: "log-normal", median: 10, sigma: 0.6 },
      uplink: megabits(10),
      latency: 60,
    },
  ],
  world: {
    // A fifth is there from the beginning; the others join after five days on average, and all leave after two.
    churn: { presentAtStart: 0.2, meanWait: days(5), meanStay: days(2) },
    availability: [{ type: "bernoulli", probability: 0.3, slot: hours(1) }],
    // A client that has left answers nothing and never comes back.
    onIneligible: "abort",
  },
  trace: "digest",
} satisfies Omit<ScenarioInput, "name" | "rounds">;

const rounds = { count: 300, cohort: 10, minUpdates: 3, deadline: minutes(30), overSelection: 1.3 };

export default [
  defineScenario({
    ...fleet,
    name: "churn",
    question: "Whose data has the model seen when clients come and go?",
    rounds,
    expect: [
      expectThat("the federation outlives most of its clients", ({ rows }) => {
        const failed = rows.filter(({ round, aggregated }) => round > 0 && !aggregated).length;
        return { holds: failed <= 15, found: `${failed} of ${rows.length - 1} rounds failed` };
      }),
      expectThat("between a tenth and half of the clients are ever counted", (findings) => {
        const share = heard(findings);
        return { holds: share > 0.1 && share < 0.5, found: `${(share * 100).toFixed(1)} %` };
      }),
    ],
  }),
  defineScenario({
    ...fleet,
    name: "churn-with-gap",
    question: "Are more clients heard when each sits out three rounds after an invitation?",
    rounds: { ...rounds, minimumGap: 3 },
    expect: [
      expectThat("at least a tenth of the clients are ever counted", (findings) => {
        const share = heard(findings);
        return { holds: share > 0.1, found: `${(share * 100).toFixed(1)} %` };
      }),
    ],
  }),
];
