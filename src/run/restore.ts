/**
 * Puts a federation into the state of a checkpoint. The checkpoint's digest says that nothing damaged its bytes; it does
 * not say who wrote them. So each part has to be as the file says that writes it, and parts that name the same have to
 * agree; whatever is wrong ends in an error that names part and field.
 */
import * as z from "zod";
import { rosterSchema } from "../../actors/roster.ts";
import type { Invitation, ServerState } from "../../actors/server-state.ts";
import { InputError, InvariantError, MachineError, messageOf } from "../base/errors.ts";
import { whole } from "../base/fields.ts";
import { rescalerSchema } from "../fl/rescaler.ts";
import { type Checkpoint, checkpointName } from "../folder/saved-state.ts";
import { participationTrackerSchema } from "../records/participation-tracker.ts";
import { roundRecorderSchema } from "../records/round-recorder.ts";
import { systemSchema } from "../runtime/system-state.ts";
import { kernelSchema } from "../sim/kernel/kernel.ts";
import { traceSchema } from "../sim/kernel/trace.ts";
import { worldSchema } from "../sim/world-state.ts";

export const federationSchema = z.strictObject({
  kernel: kernelSchema,
  trace: traceSchema,
  environment: worldSchema,
  system: systemSchema,
  participations: participationTrackerSchema,
  rounds: roundRecorderSchema,
  roster: rosterSchema,
  /** Digests of the strategy's programs. */
  programs: z.array(z.string()).readonly(),
  rescalers: rescalerSchema.nullable(),
  progress: z.strictObject({
    invited: whole,
    accepted: whole,
    round: whole,
    /** The last round has closed, and its evaluation is still to begin. */
    isEnding: z.boolean(),
    done: z.boolean(),
  }),
});
export type FederationState = Readonly<z.output<typeof federationSchema>>;

/**
 * What a run that goes on from a checkpoint ended with. A broken promise may be a bug, or somebody else's checkpoint that
 * promised what is not so.
 */
export function blamed(error: unknown, checkpoint: Pick<Checkpoint, "round" | "events">): unknown {
  const isBug = error instanceof InvariantError || error instanceof TypeError || error instanceof RangeError;
  if (!isBug) return error;
  const from = `the run that went on from checkpoint ${checkpointName(checkpoint)} broke a rule`;
  return new InputError(
    `${from}: ${error.message}\n  If somebody else may have written the checkpoint, run the scenario anew; ` +
      "otherwise this is a bug: diagnostics.log says more",
    { cause: error },
  );
}

interface Restorable {
  readonly kernel: { readonly processed: number };
  restore(parts: unknown): void;
}

/** @throws InputError when it does not fit */
export function restore(federation: Restorable, { parts, round, events }: Checkpoint): void {
  const refused = (why: string, cause?: unknown) =>
    new InputError(`checkpoint ${checkpointName({ round, events })} is not one of this scenario: ${why}`, { cause });
  try {
    federation.restore(parts);
  } catch (cause) {
    if (cause instanceof MachineError) throw cause;
    throw refused(messageOf(cause), cause);
  }
  const { processed } = federation.kernel;
  if (processed !== events) throw refused(`kernel.processed is ${processed}, expected ${events}`);
}

/** Several parts name clients and participations. @throws InputError where they are none of the run, or not the same */
export function checkParts(
  { participations, rounds, rescalers, progress }: FederationState,
  { phase, round, outstanding, accepted, nextParticipation }: ServerState,
  run: {
    readonly clients: number;
    readonly rounds: number;
    /** Of the adapter that came with the state, and of this scenario's; null without training. */
    readonly parameters: number | null;
    readonly expected: number | null;
  },
): void {
  const named = [
    ["participations.open", participations.open],
    ["rescalers.reports", rescalers?.reports ?? []],
    ["rounds.pending: counts", rounds.pending.flatMap(({ row }) => row.counts)],
  ] as const;
  for (const [place, rows] of named) {
    const stray = rows.find(({ client }) => client >= run.clients);
    if (stray === undefined) continue;
    throw new InputError(`${place}: client is ${stray.client}, expected one in [0, ${run.clients})`);
  }
  if (round > run.rounds)
    throw new InputError(`the state of server: round is ${round}, expected one up to ${run.rounds}`);
  if (progress.done && phase !== "finished") {
    throw new InputError(
      `progress.done is true, but the server is ${phase === "open" ? "in" : "before"} round ${round}`,
    );
  }
  const hasBegun = phase !== "new";
  if ((hasBegun && run.parameters !== run.expected) || (rescalers === null) !== (run.expected === null)) {
    const found = `${run.parameters ?? "no"} parameters ${rescalers === null ? "without" : "with"} rescalers`;
    throw new InputError(`the state of server: its adapter has ${found}, expected ${run.expected ?? "none of both"}`);
  }
  const [followed, held] = [namesOf(participations.open), namesOf([...outstanding, ...accepted])];
  const odd = [...followed].find((part) => !held.has(part)) ?? [...held].find((part) => !followed.has(part));
  if (odd !== undefined) throw new InputError(`participations.open and the state of server differ in ${odd}`);
  if (participations.next !== nextParticipation) {
    throw new InputError(`participations.next is ${participations.next}, but the server's is ${nextParticipation}`);
  }
}

const namesOf = (parts: readonly Pick<Invitation, "participation" | "client" | "round">[]): Set<string> =>
  new Set(
    parts.map(
      ({ participation, client, round }) => `participation ${participation} of client ${client} in round ${round}`,
    ),
  );
