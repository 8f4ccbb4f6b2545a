/** A run that can go on does: some round or some part in it ends within a bound, or the rule says who waits for whom. */
import assert from "node:assert/strict";
import type { ServerState } from "../../../actors/server-state.ts";
import { type ClientId, clientName } from "../../../src/base/ids.ts";
import { formatTime } from "../../../src/base/units.ts";
import type { Federation } from "../../../src/run/federation.ts";
import { decode } from "../../../src/runtime/messages/codec.ts";
import { type Envelope, open } from "../../../src/runtime/messages/envelope.ts";
import type { Scenario } from "../../../src/scenario/define.ts";
import type { Checker } from "./drive.ts";

/** A hundred seeds in a calm and a hundred in a wild world came to 489 events, and to 18 minutes over the patience. */
const mostEvents = 5_000;
const mostSilence = 48 * 3_600_000;

/** What shows that a run goes on. */
const steps = new Set(["round-began", "round-closed", "ended"]);

export function goesOn({ data }: Scenario): Checker {
  const bound = data.rounds.patience + mostSilence;
  let last = { t: 0, events: 0 };
  return {
    name: "a run goes on",
    afterEvent({ trace, now, events, federation }) {
      for (const { type, t } of trace) if (steps.has(type)) last = { t, events };
      const isStuck = now - last.t > bound || events - last.events > mostEvents;
      if (!isStuck) return;
      const since = `${events - last.events} events and ${formatTime(now - last.t)}`;
      assert.fail(`no round and no part in one has ended for ${since}\n${waiting(federation)}`);
    },
  };
}

/** Who waits for whom, a line each. */
export function waiting(federation: Federation): string {
  const { system } = federation.snapshot();
  const { kernel } = federation;
  const under = system.inFlight.map(({ envelope }) => open(envelope));
  const held = system.entries.flatMap(({ kind, id, mailbox, current }) => [
    ...mailbox.map((envelope) => ({ envelope: open(envelope), where: `in the mailbox of ${nameOf({ kind, id })}` })),
    ...(current === null ? [] : [{ envelope: open(current.envelope), where: `handled by ${nameOf({ kind, id })}` }]),
  ]);
  const where = [...under.map((envelope) => ({ envelope, where: `under way to ${nameOf(envelope.to)}` })), ...held];
  const [, , state] = system.registry.residents.find(([kind]) => kind === "server")!;
  const { phase, round, wanted, timers, outstanding, accepted } = decode(state) as ServerState;
  const lines = outstanding.map(({ participation, client, sentAt }) => {
    const own = where.filter(({ envelope }) => concerns(envelope, client));
    const found = own.map(({ envelope, where }) => `"${envelope.type}" sent at ${envelope.sentAt} is ${where}`);
    const how = found.length === 0 ? "nothing of it is under way" : found.join(", ");
    return `  the server waits for ${clientName(client)} (participation ${participation}, invited at ${sentAt}): ${how}`;
  });
  const next = kernel.pending === 0 ? "nothing is scheduled" : `${kernel.pending} events are scheduled`;
  const counts = `${accepted.length} accepted, ${outstanding.length} out, ${wanted} wanted, ${timers} timers`;
  return [`  at ${kernel.now} the server is ${phase} in round ${round}: ${counts}; ${next}`, ...lines].join("\n");
}

const nameOf = ({ kind, id }: Envelope["to"]): string => (kind === "client" ? clientName(id as ClientId) : kind);

const concerns = ({ from, to }: Envelope, client: ClientId): boolean =>
  [from, to].some(({ kind, id }) => kind === "client" && id === client);
