/**
 * Rules that every event log keeps, whatever its scenario: one row after the other, with a few words for each client. The
 * swarm of random federations holds them against every seed, and `flame verify` against a run's own log.
 */
import { InputError } from "../base/errors.ts";

/** A row of `events.jsonl`. */
export type EventRow = Readonly<Record<string, unknown>> & { readonly t: number; readonly type: string };

/** How one client stands. */
interface Standing {
  /** When it was invited to the part that it is busy with. */
  busySince: number | null;
  /** The server has answered its report, and waits for its update. */
  isAnswered: boolean;
  /** Updates of it that the server has heard, and those that it has counted. */
  heard: number;
  counted: number;
  /** Number of the last message that it has heard, and of its last that the server has. */
  lastTo: number;
  lastFrom: number;
}

export class EventRules {
  readonly #clients = new Map<string, Standing>();
  /** Of updates and reports that are on their way. */
  readonly #senders = new Map<unknown, string>();
  /** Invitations of a turn, whose own row follows them. */
  #invited: { readonly client: string; readonly at: number }[] = [];

  /** @throws InputError when a rule is broken */
  see(row: EventRow): void {
    if (row.type === "sent") this.#sent(row);
    else if (row.type === "turn") this.#turn(row);
    else if ((row.type === "lost" || row.type === "corrupted") && row.message !== "acknowledge") {
      this.#senders.delete(row.n);
      this.#of(isClient(row.to) ? row.to : row.from).busySince = null;
    } else if (row.type === "ended" && row.outcome === "counted") {
      const standing = this.#of(row.client);
      if (++standing.counted > standing.heard) {
        throw new InputError(`${row.client} is counted at ${row.t}, and no update of it was heard for that`);
      }
    }
  }

  /** Has the client a part that it is at work on? */
  isBusy(client: string): boolean {
    return this.#of(client).busySince !== null;
  }

  #sent({ message, n, from, to, t }: EventRow): void {
    if (message === "train") this.#invited.push({ client: nameOf(to), at: t });
    else if (message === "answer") this.#of(to).isAnswered = true;
    else if (message === "update" || message === "report") this.#senders.set(n, nameOf(from));
  }

  #turn({ message, n, actor, t }: EventRow): void {
    const sender = this.#senders.get(n);
    if (isClient(actor)) this.#hear(actor, "lastTo", n, t);
    else if (sender !== undefined) this.#hear(sender, "lastFrom", n, t);
    else if (message === "update" || message === "report") {
      throw new InputError(`"${message}" ${n} is heard at ${t}, and is not on its way`);
    }
    if (sender !== undefined) {
      this.#senders.delete(n);
      const standing = this.#of(sender);
      if (message === "update") standing.heard++;
      // Who has reported, and is told nothing, has been given up.
      if (message === "update" || !standing.isAnswered) standing.busySince = null;
    }
    for (const { client, at } of this.#invited) {
      const standing = this.#of(client);
      if (standing.busySince !== null) {
        throw new InputError(`${client} is invited at ${at}, and busy since ${standing.busySince}`);
      }
      standing.busySince = at;
      standing.isAnswered = false;
    }
    this.#invited = [];
  }

  /** In the order of sending, and once. */
  #hear(client: unknown, which: "lastTo" | "lastFrom", n: unknown, t: number): void {
    const standing = this.#of(client);
    if (!(Number(n) > standing[which])) {
      const whose = which === "lastTo" ? "to" : "from";
      throw new InputError(`message ${n} ${whose} ${nameOf(client)} is heard at ${t}, after ${standing[which]}`);
    }
    standing[which] = Number(n);
  }

  #of(name: unknown): Standing {
    const client = nameOf(name);
    let standing = this.#clients.get(client);
    if (standing === undefined) {
      standing = { busySince: null, isAnswered: false, heard: 0, counted: 0, lastTo: 0, lastFrom: 0 };
      this.#clients.set(client, standing);
    }
    return standing;
  }
}

const nameOf = (name: unknown): string => String(name).replace("client/", "");
const isClient = (name: unknown): boolean => typeof name === "string" && name.startsWith("client/");
