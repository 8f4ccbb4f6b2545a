/**
 * Brings messages to actors and carries out what their turns ask for.
 *
 *   effect ──envelope──▶ network or queue ──▶ mailbox ──turn──▶ state, effects
 *
 * A device's turn that costs time waits for the environment to say that the work is done, and then runs; if the work is
 * cut off, the turn never happened. Small turns run at once and without a promise; only a turn that opens pledges makes
 * the kernel wait, with virtual time standing still. `chronicle.ts` lists the rows of the trace.
 */
import { invariant } from "../base/errors.ts";
import type { ClientId } from "../base/ids.ts";
import { NumberMap } from "../base/number-map.ts";
import type { Rng } from "../base/random.ts";
import type { Snapshot } from "../base/snapshot.ts";
import { after, type Millis } from "../base/units.ts";
import type { Condition, Environment, Loss, Outlet } from "../sim/flight/environment.ts";
import type { Kernel } from "../sim/kernel/kernel.ts";
import type { Trace } from "../sim/kernel/trace.ts";
import type { CastMember, Effect, Next } from "./actor.ts";
import { Chronicle } from "./chronicle.ts";
import { Company, type Role } from "./company.ts";
import { runFailure } from "./failure.ts";
import { hasArrivals, putInto, type Seat, type Transit } from "./mailbox.ts";
import type { BlobStore } from "./messages/blobs.ts";
import type { Envelope } from "./messages/envelope.ts";
import type { Held, PledgeRef, Protocol, Ref } from "./messages/refs.ts";
import { Observer } from "./observer.ts";
import { type Gathering, PledgeBook, type PledgeCounts } from "./pledges.ts";
import type { WorkPool } from "./pools/pool.ts";
import { assertDamageShows, PostOffice, unnamed } from "./post.ts";
import { afterCrash } from "./supervision.ts";
import { messagesOf, restoreMessages, type SystemState } from "./system-state.ts";
import { Desk, Holdings, Turn } from "./turn.ts";

export interface ActorSystemOptions {
  readonly actors: readonly CastMember[];
  readonly kernel: Kernel;
  readonly environment: Environment;
  readonly rng: Rng;
  readonly trace: Trace;
  readonly pool: WorkPool;
  readonly blobs: BlobStore;
  readonly observer?: Observer;
  /** Work that is done several jobs at a time; none unless given. */
  readonly gathering?: Gathering | null;
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

const atOnce = 0 as Millis;

export class ActorSystem implements Snapshot<SystemState>, Outlet {
  readonly observer: Observer;
  readonly #company: Company;
  readonly #kernel: Kernel;
  readonly #environment: Environment;
  readonly #blobs: BlobStore;
  readonly #pledges: PledgeBook;
  readonly #holdings: Holdings;
  readonly #desk: Desk;
  readonly #chronicle: Chronicle;
  readonly #post: PostOffice;
  readonly #reproduce: string | null;
  /** Seats whose turn waits for its work, by ticket. */
  readonly #computing = new NumberMap<Seat<Role>>();
  #isTurning = false;
  #turns = 0;

  constructor(options: ActorSystemOptions) {
    const { actors, kernel, environment, rng, trace, pool, blobs, observer, gathering, reproduce } = options;
    this.observer = observer ?? new Observer();
    this.#company = new Company(actors);
    this.#kernel = kernel;
    this.#environment = environment;
    this.#blobs = blobs;
    this.#pledges = new PledgeBook(pool, blobs, gathering);
    this.#holdings = new Holdings(blobs, this.#pledges);
    this.#desk = new Desk(rng, this.#holdings);
    this.#chronicle = new Chronicle(trace, this.observer, this.#company);
    this.#post = new PostOffice(kernel, environment, this.#holdings, this.#chronicle);
    this.#reproduce = reproduce ?? null;
    environment.connect(this);
    kernel.on<number>("actor.message", (ticket) => {
      const transit = this.#post.collect(ticket);
      return this.#deliver(transit.receiver, transit);
    });
    kernel.on<number>("actor.computed", (ticket) => this.computed(ticket));
    kernel.on<Ref>("actor.resume", (ref) => this.#resume(this.#company.seat(ref)));
  }

  get diagnostics(): SystemDiagnostics {
    return {
      turns: this.#turns,
      sent: this.#post.sent,
      duplicates: this.#post.duplicates,
      pledges: this.#pledges.counts,
      onlookers: this.observer.problems,
    };
  }

  /** Devices whose state is not their first. */
  get storedStates(): number {
    return this.#company.store.count;
  }

  /** Pledges that somebody holds. */
  get outstandingPledges(): number {
    return this.#pledges.outstanding;
  }

  /** Sends a message from outside, at the present instant unless it takes its time: how a run is set going. */
  post<Message extends Protocol>(to: Ref<Message>, message: NoInfer<Message>, delay: Millis = atOnce): void {
    this.#post.send(null, this.#company.seat(to as Ref), message, delay);
  }

  /** An actor's state as of now; to be read, not written. */
  state(of: Ref): unknown {
    return this.#company.read(of);
  }

  /** Opens pledges beside any turn, for those who keep the books of a run; an actor has kept them so far. */
  openOutside<Result>(pledges: readonly PledgeRef<Result>[]): Promise<Result[]> {
    return this.#pledges.open(pledges) as Promise<Result[]>;
  }

  /** Undoes a `keep` on behalf of an actor that handed its content over to an onlooker. */
  releaseOutside(content: Held): void {
    this.#holdings.release(content);
  }

  /** Part of the environment's outlet. */
  arrived(ticket: number, condition: Condition): Pending {
    const transit = this.#post.arrived(ticket);
    if (transit === null) return undefined;
    if (condition === "corrupted") this.#refuse(transit);
    return this.#deliverDue(transit.device!);
  }

  /** Part of the environment's outlet. */
  computed(ticket: number): Pending {
    const seat = this.#endComputation(ticket);
    return this.#resumeAfter(this.#take(seat, seat.current!), seat);
  }

  /** Part of the environment's outlet. */
  lost(ticket: number, loss: Loss): void {
    const transit = this.#post.transits.get(ticket);
    if (transit === undefined) {
      this.#cutOff(this.#endComputation(ticket), loss);
      return;
    }
    this.#post.withdraw(transit);
    this.#chronicle.lost(this.#kernel.now, transit, loss);
    this.#resumeLater(transit.device!);
  }

  snapshot(): SystemState {
    invariant(!this.#isTurning, "a snapshot was asked for in the middle of a turn");
    return {
      nextTicket: this.#post.nextTicket,
      ...messagesOf(this.#post.transits.values(), this.#company.seats()),
      company: this.#company.snapshot(),
      pledges: this.#pledges.snapshot(),
      blobs: this.#blobs.snapshot(),
    };
  }

  /** Replaces everything except the kernel, the environment and the trace, which are restored on their own. */
  restore(state: SystemState): void {
    this.#post.nextTicket = state.nextTicket;
    this.#blobs.restore(state.blobs);
    this.#pledges.restore(state.pledges);
    this.#company.restore(state.company);
    this.#post.transits.clear();
    this.#computing.clear();
    restoreMessages(state, (ref) => this.#company.seat(ref), this.#post.transits, this.#computing);
  }

  /** Delivers what has come to or from a device, in the order of sending. */
  #deliverDue(device: Seat<Role>): Pending {
    for (let transit = this.#post.takeDue(device); transit !== null; transit = this.#post.takeDue(device)) {
      const pending = this.#deliver(transit.receiver, transit);
      if (pending !== undefined) return pending.then(() => this.#deliverDue(device));
    }
    this.#company.leave(device);
    return undefined;
  }

  #deliver(seat: Seat<Role>, letter: Envelope): Pending {
    if (this.#company.isStopped(seat)) {
      this.#chronicle.unheard(this.#kernel.now, letter);
      this.#post.letGo(letter);
      this.#company.leave(seat);
      return undefined;
    }
    if (seat.current !== null || seat.mailbox.length > 0) {
      this.#chronicle.delivered(this.#kernel.now, letter);
      putInto(seat, letter);
      return undefined;
    }
    const pending = this.#begin(seat, letter);
    if (seat.computation > 0) this.#chronicle.delivered(this.#kernel.now, letter);
    return this.#resumeAfter(pending, seat);
  }

  /** A damaged envelope ends here; the receiver learns no more than that there was one. */
  #refuse(transit: Transit<Role>): void {
    const { receiver, from, leg, round, participation } = transit;
    assertDamageShows(transit);
    this.#post.withdraw(transit);
    this.#chronicle.corrupted(this.#kernel.now, transit);
    const substitute = receiver.role.definition.corrupted?.({ from, leg, round, participation }) ?? null;
    if (substitute !== null) this.#post.send(null, receiver, substitute, atOnce);
  }

  /** Takes up waiting messages while the actor is free. */
  #resume(seat: Seat<Role>): Pending {
    while (seat.current === null && seat.mailbox.length > 0) {
      const letter = seat.mailbox.shift()!;
      const pending = this.#company.isStopped(seat) ? this.#deliver(seat, letter) : this.#begin(seat, letter);
      if (pending !== undefined) return this.#resumeAfter(pending, seat);
    }
    return this.#deliverDue(seat);
  }

  #resumeAfter(pending: Pending, seat: Seat<Role>): Pending {
    return pending === undefined ? this.#resume(seat) : pending.then(() => this.#resume(seat));
  }

  /** As an event of its own, since turns may take promises and the caller cannot wait. */
  #resumeLater(seat: Seat<Role>): void {
    if (seat.mailbox.length > 0 || hasArrivals(seat)) {
      this.#kernel.schedule(this.#kernel.now, "actor.resume", seat.ref);
    } else this.#company.leave(seat);
  }

  #begin(seat: Seat<Role>, letter: Envelope): Pending {
    seat.current = letter;
    const cost = this.#costOf(seat, letter);
    if (cost === 0) return this.#take(seat, letter);
    const ticket = this.#post.nextTicket++;
    seat.computation = ticket;
    this.#computing.set(ticket, seat);
    if (seat.role.isDevice) {
      const { participation, round, message } = letter;
      invariant(participation !== null && round !== null, () => unnamed(message));
      const client = seat.ref.id as ClientId;
      this.#environment.compute({ ticket, client, participation, round, duration: cost });
    } else this.#kernel.schedule(after(this.#kernel.now, cost), "actor.computed", ticket);
    return undefined;
  }

  #costOf(seat: Seat<Role>, letter: Envelope): Millis {
    const { definition, services } = seat.role;
    if (definition.cost === undefined) return atOnce;
    try {
      return definition.cost(this.#company.stateOf(seat), letter.message, services);
    } catch (cause) {
      throw this.#failure(cause, seat, letter);
    }
  }

  #take(seat: Seat<Role>, letter: Envelope): Pending {
    const { role, ref } = seat;
    invariant(!this.#isTurning, () => `${ref.kind} begins a turn while another goes on`);
    const turn = new Turn(this.#kernel.now, ref, role.services, this.#desk);
    this.#isTurning = true;
    try {
      const outcome = role.definition.receive(this.#company.stateOf(seat), letter.message, turn);
      if (!(outcome instanceof Promise)) return this.#commit(seat, letter, turn, outcome);
      return outcome
        .then((next) => this.#commit(seat, letter, turn, next))
        .catch((cause: unknown) => {
          throw this.#failure(cause, seat, letter);
        });
    } catch (cause) {
      throw this.#failure(cause, seat, letter);
    }
  }

  #commit(seat: Seat<Role>, letter: Envelope, turn: Turn, { state, effects }: Next<unknown, Protocol>): undefined {
    if (state !== undefined) this.#company.commit(seat, state);
    for (const effect of effects) this.#carryOut(seat, effect);
    turn.end(letter.refs);
    seat.current = null;
    this.#isTurning = false;
    this.#turns++;
    this.#chronicle.turn(turn.now, letter);
    if (state === undefined) this.#stop(seat, "itself");
    this.#tell(seat, turn.now);
    return undefined;
  }

  #tell({ ref }: Seat<Role>, at: Millis): void {
    const { events } = this.#desk;
    if (events.count === 0) return;
    const name = this.#company.nameOf(ref);
    for (let i = 0; i < events.count; i++) this.observer.event(events.at(i), name, at);
    events.clear();
  }

  #carryOut(seat: Seat<Role>, effect: Effect<Protocol>): void {
    if (effect.type === "send") this.#post.send(seat, this.#company.seat(effect.to), effect.message, atOnce);
    else this.#post.send(seat, seat, effect.message, effect.duration);
  }

  /** The turn that waited for its work never happened. */
  #cutOff(seat: Seat<Role>, loss: Loss): void {
    const { role, ref } = seat;
    const letter = seat.current!;
    seat.current = null;
    this.#chronicle.lost(this.#kernel.now, letter, loss);
    this.#post.letGo(letter);
    if (loss.reason === "crash" && role.definition.supervision !== undefined) {
      const before = role.crashes.get(ref.id) ?? [];
      const { crashes, verdict } = afterCrash(before, this.#kernel.now, role.definition.supervision);
      role.crashes.set(ref.id, crashes);
      if (verdict === "stop") this.#stop(seat, "crashes");
    }
    this.#resumeLater(seat);
  }

  #endComputation(ticket: number): Seat<Role> {
    const seat = this.#computing.take(ticket);
    invariant(seat !== undefined, () => `ticket ${ticket} has been answered, or was never given out`);
    seat.computation = 0;
    return seat;
  }

  #stop({ role, ref }: Seat<Role>, reason: "itself" | "crashes"): void {
    role.stopped.add(ref.id);
    this.#chronicle.stopped(this.#kernel.now, ref, reason);
  }

  #failure(cause: unknown, seat: Seat<Role>, { message }: Envelope): Error {
    return runFailure(cause, {
      at: this.#kernel.now,
      actor: this.#company.nameOf(seat.ref),
      message,
      reproduce: this.#reproduce,
    });
  }
}
