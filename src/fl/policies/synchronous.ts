/**
 * Rounds with a deadline: invite a cohort, count what arrives in time, aggregate if it is enough.
 *
 *   invite ⌈cohort · overSelection⌉, close at the `goal`-th update or at the deadline, whichever comes first
 *
 * Over-selection buys speed: the round waits for the fastest `goal` of more invitations, and the rest is wasted work,
 * unless late updates are used: then one that misses its round counts in the round it arrives in and towards its goal,
 * with the weight of its staleness, and its client works on until it has reported.
 * Bonawitz et al., "Towards Federated Learning at Scale", 2019. https://arxiv.org/abs/1902.01046
 */
import * as z from "zod";
import { millis } from "../../base/units.ts";
import { type Decision, definePolicy } from "../policy.ts";
import { judge } from "./buffered.ts";
import { atMost, patience } from "./fields.ts";
import { stalenessFields } from "./staleness.ts";

export const synchronous = definePolicy({
  type: "synchronous",
  is: "rounds with a deadline: a cohort is invited, and what arrives in time is aggregated",
  options: {
    cohort: z.int().min(1).describe("updates a full round is made of"),
    deadline: patience
      .default(null)
      .describe("milliseconds of virtual time from the start of the round; null waits for everyone"),
    minUpdates: z.int().min(1).default(1).describe("fewer than this at the deadline, and the adapter stays as it is"),
    overSelection: z.number().min(1).default(1).describe("invitations per member of the cohort, ≥ 1"),
    goal: z.int().min(1).exactOptional().describe("updates at which the round closes at once; the cohort unless given"),
    late: z
      .enum(["drop", "stale"])
      .default("drop")
      .describe(
        "what becomes of an update that arrives after its round has closed. Its staleness matters to `stale` alone",
      ),
    ...stalenessFields,
  },
  name({ cohort, overSelection, late }) {
    const factor = overSelection === 1 ? "" : `×${overSelection}`;
    return `synchronous(${cohort}${factor}${late === "stale" ? ", late as stale" : ""})`;
  },
  sizedLike: ({ cohort, deadline, minUpdates, overSelection }) => ({ cohort, deadline, minUpdates, overSelection }),
  make(options) {
    const { cohort, deadline, minUpdates, overSelection, goal = cohort, late } = options;
    const usesLate = late === "stale";
    const close = (accepted: number): Decision => ({ type: "close", aggregate: accepted >= minUpdates });
    return {
      carriesOver: usesLate,
      facts: () => ({ deadline, minUpdates, invites: invitations(cohort, overSelection) }),
      problems(fleetSize) {
        const invited = Math.min(invitations(cohort, overSelection), fleetSize);
        return [
          ...atMost("cohort", cohort, fleetSize, "the clients of the fleet"),
          ...atMost("goal", goal, invited, "the clients that are invited"),
          ...atMost("minUpdates", minUpdates, Math.min(goal, invited), "the updates a round can bring"),
        ];
      },
      onRound() {
        const invite: Decision = { type: "invite", count: invitations(cohort, overSelection) };
        return deadline === null ? [invite] : [invite, { type: "timer", after: millis(deadline), name: "deadline" }];
      },
      onUpdate(view, arrival) {
        const { participation, round } = arrival;
        if (round !== view.round && !usesLate) return [{ type: "refuse", participation, as: "late" }];
        const answer = judge(view, arrival, options);
        const accepted = view.accepted + (answer.type === "accept" ? 1 : 0);
        // With nobody left to wait for, more time would bring no more updates.
        const complete = accepted >= goal || (view.outstanding === 0 && accepted >= minUpdates);
        return complete ? [answer, close(accepted)] : [answer];
      },
      onTimer: (view) => [close(view.accepted)],
      onQuiet: (view) => [close(view.accepted)],
    };
  },
});

/** @internal Rounded to a millionth first: 10 · 1.1 is 11 invitations, not the 12 of its float. */
export const invitations = (cohort: number, overSelection: number): number =>
  Math.ceil(Math.round(cohort * overSelection * 1e6) / 1e6);
