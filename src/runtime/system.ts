/**
 * Brings messages to actors and carries out what their turns ask for.
 *
 *   effect ──envelope──▶ network or queue ──▶ mailbox ──turn──▶ state, effects
 *
 * A device's turn that costs time waits for the environment to say that the work is done, and then runs; if the work is
 * cut off, the turn never happened. Small turns run at once and without a promise; only a turn that opens pledges makes
 * the kernel wait, with virtual time standing still. `event-log.ts` lists the rows of the trace.
 */
import { InputError, invariant } from "../base/errors.ts";
import { whole } from "../base/fields.ts";
import type { ClientId } from "../base/ids.ts";
import { NumberMap } from "../base/number-map.ts";
import type { Rng } from "../base/random.ts";
import type { Snapshot } from "../base/snapshot.ts";
import { after, type Millis } from "../base/units.ts";
import type { Condition, Environment, Loss, Outlet } from "../sim/flight/environment.ts";
import type { Kernel } from "../sim/kernel/kernel.ts";
import type { Trace } from "../sim/kernel/trace.ts";
import type { Effect, Next, Registration } from "./actor.ts";
import { type Entry, hasArrivals, type Transit } from "./entry.ts";
import { EventLog } from "./event-log.ts";
import { runFailure } from "./failure.ts";
import type { BlobStore } from "./messages/blobs.ts";
import type { Envelope } from "./messages/envelope.ts";
import { appended } from "./messages/lists.ts";
import { inspect } from "./messages/plain.ts";
import { type Held, type PledgeRef, type Protocol, type Ref, refSchema } from "./messages/refs.ts";
import { Observer } from "./observer.ts";
import { type Gathering, type PledgeCounts, PledgeStore, type WorkSchemas } from "./pledges.ts";
import type { WorkPool } from "./pools/pool.ts";
import { References } from "./references.ts";
import { Registry } from "./registry.ts";
import { assertDamageShows, Router, unnamed } from "./router.ts";
import { messagesOf, restoreMessages, type SystemState } from "./system-state.ts";
import { Turn } from "./turn.ts";

export interface ActorSystemOptions {
  readonly actors: readonly Registration[];
  readonly kernel: Kernel;
  readonly environment: Environment;
  readonly rng: Rng;
  readonly trace: Trace;
  readonly pool: WorkPool;
  readonly blobs: BlobStore;
  readonly observer?: Observer;
  /** Work that is done several jobs at a time; none unless given. */
  readonly gathering?: Gathering | null;
  /** What the kinds of work take and give, to check a checkpoint by; unchecked unless given. */
  readonly works?: Readonly<Record<string, WorkSchemas>>;
  /** The command line that runs this scenario and seed, for the message of a run that fails. */
  readonly reproduce?: string;
}

/** Counted since this process began; never part of a result. */
export interface SystemDiagnostics {
  readonly turns: number;
  readonly sent: number;
  /** Copies of envelopes received before, ignored. */
  readonly duplicates: number;
  readonly pledges: PledgeCounts;
  /** What onlookers threw, in words. */
  readonly onlookers: readonly string[];
}

/** Undefined when everything is done. */
type Pending = Promise<void> | undefined;

type Outcome = Next<unknown, Protocol>;

const atOnce = 0 as Millis;

export class ActorSystem implements Snapshot<SystemState>, Outlet {
  readonly observer: Observer;
  readonly #registry: Registry;
  readonly #kernel: Kernel;
  readonly #environment: Environment;
  readonly #blobs: BlobStore;
  readonly #pledges: PledgeStore;
  readonly #references: References;
  readonly #rng: Rng;
  readonly #log: EventLog;
  readonly #router: Router;
  readonly #reproduce: string | null;
  readonly #works: Readonly<Record<string, WorkSchemas>> | null;
  /** Entries whose turn waits for its work, by ticket. */
  readonly #computing = new NumberMap<Entry>();
  #isTurning = false;
  #turns = 0;

  constructor(options: ActorSystemOptions) {
    const { actors, kernel, environment, rng, trace, pool, blobs, observer, gathering, works, reproduce } = options;
    this.observer = observer ?? new Observer();
    this.#registry = new Registry(actors);
    this.#kernel = kernel;
    this.#environment = environment;
    this.#blobs = blobs;
    this.#pledges = new PledgeStore(pool, blobs, gathering);
    this.#references = new References(blobs, this.#pledges);
    this.#rng = rng;
    this.#log = new EventLog(trace, this.observer, this.#registry);
    this.#router = new Router(kernel, environment, this.#references, this.#log);
    this.#reproduce = reproduce ?? null;
    environment.connect(this);
    this.#works = works ?? null;
    const deliver = (ticket: number) => {
      const transit = this.#router.collect(ticket);
      return this.#deliver(transit.receiver, transit);
    };
    kernel.on<number>("actor.message", deliver, whole);
    kernel.on<number>("actor.computed", (ticket) => this.computed(ticket), whole);
    kernel.on<Ref>("actor.resume", (ref) => this.#resume(this.#registry.entry(ref)), refSchema);
  }

  get diagnostics(): SystemDiagnostics {
    return {
      turns: this.#turns,
      sent: this.#router.sent,
      duplicates: this.#router.duplicates,
      pledges: this.#pledges.counts,
      onlookers: this.observer.problems,
    };
  }

  /** Devices whose state is not their first. */
  get storedStates(): number {
    return this.#registry.storedStates;
  }

  /** Pledges that somebody holds. */
  get outstandingPledges(): number {
    return this.#pledges.outstanding;
  }

  /** Sends a message from outside, at the present instant unless it takes its time: how a run is set going. */
  post<Message extends Protocol>(to: Ref<Message>, message: NoInfer<Message>, delay: Millis = atOnce): void {
    this.#router.send(null, this.#registry.entry(to as Ref), message, delay);
  }

  /** An actor's state as of now; to be read, not written. */
  state(of: Ref): unknown {
    return this.#registry.read(of);
  }

  /**
   * The results of pledges that an actor has kept, for those who keep the books of a run. It happens beside any turn, when
   * the machine is ready: a snapshot does not show it.
   */
  async readOutside<Result>(pledges: readonly PledgeRef<Result>[]): Promise<Result[]> {
    const results: Result[] = [];
    for await (const result of this.#pledges.openEach(pledges)) results.push(result as Result);
    return results;
  }

  /** Undoes a `keep` on behalf of an actor that handed its content over to an onlooker. */
  releaseOutside(content: Held): void {
    this.#references.release(content);
  }

  /** Part of the environment's outlet. */
  arrived(ticket: number, condition: Condition): Pending {
    const transit = this.#router.arrived(ticket);
    if (transit === null) return undefined;
    if (condition === "corrupted") this.#refuse(transit);
    return this.#deliverDue(transit.device!);
  }

  /** Part of the environment's outlet. */
  computed(ticket: number): Pending {
    const entry = this.#endComputation(ticket);
    return this.#resumeAfter(this.#take(entry, entry.current!), entry);
  }

  /** Part of the environment's outlet. */
  lost(ticket: number, loss: Loss): void {
    const transit = this.#router.inFlight.get(ticket);
    if (transit === undefined) {
      this.#cutOff(this.#endComputation(ticket), loss);
      return;
    }
    this.#router.withdraw(transit);
    this.#log.lost(this.#kernel.now, transit, loss);
    this.#resumeLater(transit.device!);
  }

  snapshot(): SystemState {
    invariant(!this.#isTurning, "a snapshot was asked for in the middle of a turn");
    return {
      nextTicket: this.#router.nextTicket,
      ...messagesOf(this.#router.inFlight.values(), this.#registry.entries()),
      registry: this.#registry.snapshot(),
      pledges: this.#pledges.snapshot(),
      blobs: this.#blobs.snapshot(),
    };
  }

  /**
   * Replaces everything except the kernel, the environment and the trace, which are restored on their own; the kernel
   * before.
   *
   * @throws InputError for what does not fit together
   */
  restore(state: SystemState): void {
    this.#router.nextTicket = state.nextTicket;
    this.#blobs.restore(state.blobs);
    this.#pledges.restore(state.pledges, this.#works);
    const inspect = (value: unknown, place: string) => this.requireContents(value, place);
    for (const [at, { recipe, result }] of state.pledges.pledges.entries()) {
      if (result === undefined) inspect(recipe, `pledges[${at}].recipe`);
    }
    this.#registry.restore(state.registry, inspect);
    const { inFlight } = this.#router;
    inFlight.clear();
    this.#computing.clear();
    restoreMessages(state, { registry: this.#registry, inFlight, computing: this.#computing, inspect });
    this.#checkEvents();
  }

  /** @throws InputError when a restored part refers to content that nobody holds */
  requireContents(value: unknown, place: string): void {
    for (const ref of inspect(value).refs) this.#references.require(ref, place);
  }

  /** A direct message is delivered by one event, and so is the end of a computation on the server's side. */
  #checkEvents(): void {
    const direct = this.#router.inFlight.values().filter(({ device }) => device === null);
    const computing = [...this.#computing.entries()].filter(([, { kind }]) => !kind.isDevice);
    const expected = [
      ["actor.message", direct.map(({ ticket }) => ticket)],
      ["actor.computed", computing.map(([ticket]) => ticket)],
    ] as const;
    for (const [kind, tickets] of expected) {
      const scheduled = this.#kernel.scheduled(kind).map(({ data }) => data as number);
      const [known, due] = [new Set(tickets), new Set(scheduled)];
      if (scheduled.length !== due.size || due.size !== known.size || !tickets.every((ticket) => due.has(ticket))) {
        throw new InputError(
          `kernel.queue has "${kind}" for tickets ${scheduled.join(", ")}, expected ${tickets.join(", ") || "none"}`,
        );
      }
    }
  }

  /** Delivers what has come to or from a device, in the order of sending. */
  #deliverDue(device: Entry): Pending {
    for (let transit = this.#router.takeDue(device); transit !== null; transit = this.#router.takeDue(device)) {
      const pending = this.#deliver(transit.receiver, transit);
      if (pending !== undefined) return this.#deliverDueWhenDone(pending, device);
    }
    this.#registry.leave(device);
    return undefined;
  }

  /** On its own, like all that waits: a function that makes a closure allocates for it in every call, used or not. */
  async #deliverDueWhenDone(pending: Promise<void>, device: Entry): Promise<void> {
    await pending;
    return this.#deliverDue(device);
  }

  #deliver(entry: Entry, envelope: Envelope): Pending {
    if (entry.current !== null || entry.mailbox.length > 0) {
      this.#log.delivered(this.#kernel.now, envelope);
      entry.mailbox = appended(entry.mailbox, envelope);
      return undefined;
    }
    const pending = this.#begin(entry, envelope);
    if (entry.computation > 0) this.#log.delivered(this.#kernel.now, envelope);
    return this.#resumeAfter(pending, entry);
  }

  /** A damaged envelope ends here; the receiver learns no more than that there was one. */
  #refuse(transit: Transit): void {
    const { receiver, from, stage, round, participation } = transit;
    assertDamageShows(transit);
    this.#router.withdraw(transit);
    this.#log.corrupted(this.#kernel.now, transit);
    const substitute = receiver.kind.definition.corrupted?.({ from, stage, round, participation }) ?? null;
    if (substitute !== null) this.#router.send(null, receiver, substitute, atOnce);
  }

  /** Takes up waiting messages while the actor is free. */
  #resume(entry: Entry): Pending {
    while (entry.current === null && entry.mailbox.length > 0) {
      const pending = this.#begin(entry, entry.mailbox.shift()!);
      if (pending !== undefined) return this.#resumeAfter(pending, entry);
    }
    return this.#deliverDue(entry);
  }

  #resumeAfter(pending: Pending, entry: Entry): Pending {
    return pending === undefined ? this.#resume(entry) : this.#resumeWhenDone(pending, entry);
  }

  async #resumeWhenDone(pending: Promise<void>, entry: Entry): Promise<void> {
    await pending;
    return this.#resume(entry);
  }

  /** As an event of its own, since turns may take promises and the caller cannot wait. */
  #resumeLater(entry: Entry): void {
    if (entry.mailbox.length > 0 || hasArrivals(entry)) {
      this.#kernel.schedule(this.#kernel.now, "actor.resume", entry.ref);
    } else this.#registry.leave(entry);
  }

  #begin(entry: Entry, envelope: Envelope): Pending {
    entry.current = envelope;
    const cost = this.#costOf(entry, envelope);
    if (cost === 0) return this.#take(entry, envelope);
    const ticket = this.#router.nextTicket++;
    entry.computation = ticket;
    this.#computing.set(ticket, entry);
    if (entry.kind.isDevice) {
      const { participation, round } = envelope;
      invariant(participation !== null && round !== null, () => unnamed(envelope));
      const client = entry.ref.id as ClientId;
      this.#environment.compute({ ticket, client, participation, round, duration: cost });
    } else this.#kernel.schedule(after(this.#kernel.now, cost), "actor.computed", ticket);
    return undefined;
  }

  #costOf(entry: Entry, envelope: Envelope): Millis {
    const { definition, services } = entry.kind;
    if (definition.cost === undefined) return atOnce;
    try {
      return definition.cost(this.#registry.stateOf(entry), envelope.message, services);
    } catch (cause) {
      throw this.#failure(cause, entry, envelope);
    }
  }

  #take(entry: Entry, envelope: Envelope): Pending {
    const { kind, ref } = entry;
    invariant(!this.#isTurning, () => `${ref.kind} begins a turn while another goes on`);
    const turn = new Turn(this.#kernel.now, ref, kind.services, this.#rng, this.#references);
    this.#isTurning = true;
    try {
      const outcome = kind.definition.receive(this.#registry.stateOf(entry), envelope.message, turn);
      if (outcome instanceof Promise) return this.#commitWhenDone(entry, envelope, turn, outcome);
      return this.#commit(entry, envelope, turn, outcome);
    } catch (cause) {
      throw this.#failure(cause, entry, envelope);
    }
  }

  async #commitWhenDone(entry: Entry, envelope: Envelope, turn: Turn, outcome: Promise<Outcome>): Promise<void> {
    try {
      this.#commit(entry, envelope, turn, await outcome);
    } catch (cause) {
      throw this.#failure(cause, entry, envelope);
    }
  }

  #commit(entry: Entry, envelope: Envelope, turn: Turn, { state, effects }: Outcome): undefined {
    this.#registry.persist(entry, state);
    for (const effect of effects) this.#carryOut(entry, effect);
    turn.end(envelope.refs);
    entry.current = null;
    this.#isTurning = false;
    this.#turns++;
    this.#log.turn(turn.now, envelope);
    for (const event of turn.events) this.observer.event(event, entry.ref, turn.now);
    return undefined;
  }

  #carryOut(entry: Entry, effect: Effect<Protocol>): void {
    if (effect.type === "send") this.#router.send(entry, this.#registry.entry(effect.to), effect.message, atOnce);
    else this.#router.send(entry, entry, effect.message, effect.duration);
  }

  /** The turn that waited for its work never happened. */
  #cutOff(entry: Entry, loss: Loss): void {
    const envelope = entry.current!;
    entry.current = null;
    this.#log.lost(this.#kernel.now, envelope, loss);
    this.#router.release(envelope);
    this.#resumeLater(entry);
  }

  #endComputation(ticket: number): Entry {
    const entry = this.#computing.take(ticket);
    invariant(entry !== undefined, () => `ticket ${ticket} has been answered, or was never given out`);
    entry.computation = 0;
    return entry;
  }

  #failure(cause: unknown, entry: Entry, { message }: Envelope): Error {
    return runFailure(cause, {
      at: this.#kernel.now,
      actor: this.#registry.nameOf(entry.ref),
      message,
      reproduce: this.#reproduce,
    });
  }
}
