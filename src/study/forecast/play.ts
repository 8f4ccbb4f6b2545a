/**
 * A run played ahead of itself: its own kernel, policy, fleet and luck, and no training. What is sent and when it arrives
 * follows from plans and devices; only methods that plan by what they have learned can part from it.
 */
import type { ParticipationId } from "../../base/ids.ts";
import type { RoundRow } from "../../records/metrics.ts";
import { Federation, type Invited } from "../../run/federation.ts";
import type { Prepared } from "../../run/prepare.ts";
import { InlinePool } from "../../runtime/pools/inline-pool.ts";
import type { Scenario } from "../../scenario/define.ts";
import { allSteps, trainingTimeOf } from "../../scenario/effort.ts";

export interface Played {
  /** Row 0 is the base model. */
  readonly rows: readonly RoundRow[];
  /** Whether the last round has closed; else time ran out. */
  readonly isWhole: boolean;
  /** Milliseconds from invitation to arrival, of each tier's updates that arrived. */
  readonly partsOf: readonly (readonly number[])[];
  /** For each round: what the clients that count train, as optimizer steps at budgets. */
  readonly work: readonly (readonly Work[])[];
}

/** Of one participation. */
interface Work {
  /** As many steps of an ordinary local training as take as long: probes and more models than one are in it. */
  readonly steps: number;
  readonly budget: number;
  /** Number of the client's tier. */
  readonly tier: number;
}

/** @param limit real milliseconds after which the rounds played so far have to do; one is played in any case */
export async function playAhead(scenario: Scenario, prepared: Prepared, limit = Infinity): Promise<Played> {
  const { data } = scenario;
  const { fleet, task } = prepared;
  const rows: RoundRow[] = [];
  const partsOf: number[][] = fleet.tierNames.map(() => []);
  const work: Work[][] = [];
  const open = new Map<ParticipationId, Invited>();
  const federation = new Federation({
    scenario,
    prepared,
    isAhead: true,
    pool: new InlinePool({}),
    events: null,
    reproduce: "",
    onInvited: (invited) => open.set(invited.participation, invited),
    onParticipation({ participation, client, round, invitedAt, arrivedAt, outcome }) {
      const { takes, budget } = open.get(participation)!;
      open.delete(participation);
      if (arrivedAt !== null) partsOf[fleet.tier[client]!]!.push(arrivedAt - invitedAt);
      if (outcome !== "counted") return;
      const steps = (takes / trainingTimeOf(fleet, data, client)) * allSteps(fleet, data, client);
      work[round] ??= [];
      work[round].push({ steps, budget, tier: fleet.tier[client]! });
    },
    onRow: (row) => void rows.push(row),
    onRoundClosed() {},
  });
  const begun = performance.now();
  // Rescalers that are measured weigh what others do.
  federation.begin(Array.from({ length: task.layers }, () => new Array<number>(task.task.budget.full).fill(1)));
  await federation.advance(() => rows.length > 1 && performance.now() - begun > limit);
  await federation.rowsDone();
  // A round in which nobody counted has left a hole.
  return { rows, isWhole: federation.hasFinished, partsOf, work: Array.from(work, (parts = []) => parts) };
}
