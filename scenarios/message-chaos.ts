/**
 * A network that loses, doubles, delays and damages messages, clients that crash, and a server that restarts in the
 * middle of rounds. Is every update still counted once and only once, and does the run get through?
 *
 * The books of a run check the first: an update counted twice, late, or from a client that was gone ends it with an
 * error. Nothing is trained.
 *
 *   npx flame run message-chaos
 */
import {
  crash,
  defineScenario,
  every,
  everyTierCounted,
  expectThat,
  hook,
  megabits,
  minutes,
  participationAtLeast,
  seconds,
  serverRestart,
} from "flame-sim";

export default defineScenario({
  name: "message-chaos",
  question: "Does a federation get through a network that loses, doubles, delays and damages messages?",
  seed: 13,
  timingOnly: true,
  data: { sizes: { examplesPerClient: { type: "log-normal", mean: 60, cv: 0.5 }, tokensPerExample: 60 } },
  fleet: [
    { name: "edge", clients: 20, budget: 4, tokensPerSecond: 2_000, uplink: megabits(100), latency: 10 },
    { name: "phone", clients: 80, budget: 1, tokensPerSecond: 300, uplink: megabits(5), latency: 80 },
  ],
  world: {
    network: {
      loss: 0.2,
      duplication: 0.2,
      corruption: 0.05,
      reordering: { probability: 0.3, maxDelay: seconds(20) },
      retry: { timeout: seconds(5), attempts: 4 },
    },
    faults: { crash: 0.05, acknowledge: 0.2, corruptedUpdate: 0.02 },
    timeline: [
      every(minutes(7), serverRestart(seconds(20))),
      every(minutes(11), crash("phone")),
      // Now and then the network gets worse still, by chance.
      every(
        minutes(5),
        hook((sim) => {
          if (sim.draws.bernoulli(0.5)) sim.inject({ type: "message-loss", probability: 0.5, duration: minutes(1) });
        }),
      ),
    ],
  },
  rounds: { count: 60, cohort: 16, overSelection: 1.5, minUpdates: 8, deadline: minutes(3) },
  expect: [
    everyTierCounted(),
    participationAtLeast(0.4),
    expectThat("nine rounds in ten find enough updates", ({ rows }) => {
      const good = rows.filter(({ round, aggregated }) => round > 0 && aggregated).length;
      return { holds: good >= 0.9 * (rows.length - 1), found: `${good} of ${rows.length - 1}` };
    }),
  ],
});
