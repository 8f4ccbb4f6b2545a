/**
 * The simulated world: devices, network, availability and faults behind the runtime's `Environment`.
 *
 * Whatever happens to a message or a computation follows from the scenario and keyed randomness. Its end is known when
 * it begins, unless a scripted effect or a shared link changes its pace on the way; undisturbed, it is one event of the
 * kernel.
 */
import { InputError, invariant } from "../base/errors.ts";
import { whole } from "../base/fields.ts";
import type { ClientId } from "../base/ids.ts";
import type { Rng } from "../base/random.ts";
import { after, type Millis } from "../base/units.ts";
import type { DataTraits } from "./availability/availability-data.ts";
import type { Fleet } from "./fleet/fleet.ts";
import type { Computation, Environment, Loss, Onlooker, Outlet, Transfer } from "./flight/environment.ts";
import { Faults } from "./flight/faults.ts";
import { type Flight, FlightTable, type Step, settle, soonest } from "./flight/flight.ts";
import type { Phase } from "./flight/stages.ts";
import { type ComputeSpec, setWork } from "./flight/tasks.ts";
import { foresee } from "./foresight.ts";
import type { Kernel } from "./kernel/kernel.ts";
import type { TraceRow } from "./kernel/trace.ts";
import { Meter, type Occupation, type WorldTraffic } from "./network/meter.ts";
import { Network } from "./network/network.ts";
import { Repeats } from "./network/repeats.ts";
import { ServerLinks } from "./network/server-links.ts";
import { Presence } from "./presence.ts";
import { Conditions } from "./script/conditions.ts";
import { Director } from "./script/director.ts";
import type { PlainEffect } from "./script/effects.ts";
import { viewOfFleet } from "./script/fleet-view.ts";
import type { WorldSpec } from "./world-spec.ts";
import { checkFlights, type WorldState } from "./world-state.ts";

export interface WorldOptions {
  readonly kernel: Kernel;
  readonly rng: Rng;
  readonly fleet: Fleet;
  readonly spec: WorldSpec;
  /** Of the clients' data; needed only by availability rules that look at labels. */
  readonly traits?: DataTraits;
  /** Takes a row for every effect, hook, and message that is sent again. */
  readonly onTrace?: (row: TraceRow) => void;
  readonly onlooker?: Onlooker;
}

export const createWorld = (options: WorldOptions): World => new World(options);

export class World implements Environment {
  readonly #kernel: Kernel;
  readonly #size: number;
  readonly #rng: Rng;
  readonly #compute: ComputeSpec;
  readonly #network: Network;
  readonly #faults: Faults;
  readonly #conditions: Conditions;
  readonly #presence: Presence;
  readonly #director: Director;
  readonly #trace: (row: TraceRow) => void;
  readonly #flights = new FlightTable();
  readonly #repeats = new Repeats();
  readonly #meter = new Meter();
  readonly #links: ServerLinks;
  readonly #onlooker: Onlooker | null;
  #outlet: Outlet | null = null;

  constructor({ kernel, rng, fleet, spec, traits, onTrace, onlooker }: WorldOptions) {
    const shown = viewOfFleet(fleet);
    this.#kernel = kernel;
    this.#size = fleet.size;
    this.#rng = rng;
    this.#compute = spec.compute;
    this.#network = new Network(spec.network, fleet, rng);
    this.#faults = new Faults(spec.faults, fleet, rng);
    this.#conditions = new Conditions(fleet);
    this.#presence = new Presence(spec, fleet, rng, this.#conditions, traits);
    this.#trace = onTrace ?? (() => {});
    this.#onlooker = onlooker ?? null;
    this.#links = new ServerLinks(spec.network, {
      kernel,
      flights: this.#flights,
      paceOf: (flight, now) => this.#paceOf(flight, now),
      through: (flight, slot) => this.#plan(flight, slot),
    });
    kernel.on<number>("flight", (slot, sequence) => this.#onFlight(slot, sequence), whole);
    this.#director = new Director({
      kernel,
      rng,
      conditions: this.#conditions,
      timeline: spec.timeline,
      trace: this.#trace,
      react: (effect, change) => this.#react(effect, change),
      view: () => ({
        fleet: shown,
        traffic: this.traffic,
        isAvailable: (client) => this.isAvailable(client),
        busyClients: () => this.busyClients(),
      }),
    });
  }

  get traffic(): WorldTraffic {
    return this.#meter.traffic;
  }

  get occupation(): Occupation {
    return this.#meter.occupation;
  }

  /** Messages and computations under way. */
  get underway(): number {
    return this.#flights.size;
  }

  connect(outlet: Outlet): void {
    invariant(this.#outlet === null, "the world is connected already");
    this.#outlet = outlet;
  }

  transfer(transfer: Transfer): void {
    const { client, stage, bytes, participation, round } = transfer;
    const repeat = this.#repeats.of(client, round, participation);
    const flight = this.#flights.prepare(transfer, stage, repeat, bytes, this.#kernel.now);
    flight.isShared = this.#links.isShared(flight);
    this.#send(flight);
    this.#begin(flight);
  }

  /**
   * @returns false if, as things stand, the work will certainly be lost, so that its result need not be worked out;
   *   an effect that ends work early can still come
   */
  compute(computation: Computation): boolean {
    const { client, participation, round, duration } = computation;
    const repeat = this.#repeats.of(client, round, participation);
    const flight = this.#flights.prepare(computation, "training", repeat, duration, this.#kernel.now);
    setWork(flight, this.#compute, this.#rng);
    this.#begin(flight);
    return flight.stopReason === "" && (flight.step !== "cut" || !this.#conditions.isCalm);
  }

  isAvailable(client: ClientId): boolean {
    return this.#presence.mayBeInvited(client, this.#kernel.now);
  }

  /** For fleets of more than 20,000 clients the answer may be a little later than the very first. */
  nextAvailability(): Millis | null {
    const { now } = this.#kernel;
    const first = this.#presence.firstReturn(now);
    return first === Infinity ? null : (Math.max(now + 1, Math.ceil(first)) as Millis);
  }

  busyClients(): ClientId[] {
    return this.#flights.clients();
  }

  /** Begins an effect now, as a hook of the timeline would. */
  inject(effect: PlainEffect): void {
    this.#director.begin(effect);
  }

  /** Level in [0, 1] of a client's battery; null in a world without batteries. */
  batteryLevel(client: ClientId): number | null {
    return this.#presence.batteries?.level(client, this.#kernel.now) ?? null;
  }

  snapshot(): WorldState {
    return {
      flights: this.#flights.snapshot(),
      links: this.#links.snapshot(),
      conditions: this.#conditions.snapshot(),
      director: this.#director.snapshot(),
      repeats: this.#repeats.snapshot(),
      meter: this.#meter.snapshot(),
      batteries: this.#presence.batteries?.snapshot() ?? null,
    };
  }

  /** Once the kernel is. @throws InputError for what does not fit together */
  restore(state: WorldState): void {
    const { flights, links, conditions, director, repeats, meter, batteries } = state;
    checkFlights(state, this.#kernel, this.#size);
    this.#flights.restore(flights);
    this.#links.restore(links);
    this.#conditions.restore(conditions);
    this.#director.restore(director);
    this.#repeats.restore(repeats);
    this.#meter.restore(meter);
    const own = this.#presence.batteries;
    if ((batteries === null) !== (own === null))
      throw new InputError("batteries are there, or are not, against the scenario");
    if (batteries !== null) own?.restore(batteries, this.#kernel.now);
  }

  /** Lets the network decide what happens to the next copy of a message. */
  #send(flight: Flight): void {
    this.#network.send(flight, this.#conditions.isCalm ? undefined : this.#conditions.messageLoss());
    if (flight.fate === "intact") this.#faults.damage(flight);
  }

  #begin(flight: Flight): void {
    invariant(this.#outlet !== null, "the world has no outlet: connect it before the first transfer");
    const { now } = this.#kernel;
    const slot = this.#flights.add(flight);
    const refusal = this.#presence.refusal(flight.client, now);
    if (refusal !== null) flight.stopReason = refusal;
    if (refusal !== null || this.#faults.refuses(flight)) {
      this.#await(flight, slot, now, "refusal");
      return;
    }
    this.#faults.decide(flight, now, this.#conditions.isCalm ? null : this.#conditions.dropout(flight.client));
    this.#presence.limit(flight, now);
    this.#repace(flight, slot);
  }

  /** Gives a flight the pace that is right now, and waits for what will happen to it next. */
  #repace(flight: Flight, slot: number): void {
    const { now } = this.#kernel;
    settle(flight, now);
    const pace = this.#paceOf(flight, now);
    if (pace > 0 && flight.is !== "work" && !flight.isMetered) {
      this.#meter.sent(flight);
      flight.isMetered = true;
    }
    if (flight.isShared) this.#links.update(flight, slot, pace);
    else flight.rate = pace;
    this.#plan(flight, slot);
  }

  /** Work per millisecond of virtual time, before any shared link; 0 while it stands still. */
  #paceOf(flight: Flight, now: number): number {
    const { client, is, pace } = flight;
    if (this.#presence.isAway(client, now)) return 0;
    const conditions = this.#conditions;
    if (conditions.isCalm) return pace;
    if (is === "work") return pace / conditions.slowdown(client);
    return conditions.isCutOff(client) ? 0 : pace * conditions.bandwidth(client);
  }

  #plan(flight: Flight, slot: number): void {
    const time = foresee(flight, this.#kernel.now, this.#presence, this.#conditions);
    this.#await(flight, slot, time, flight.step);
  }

  #await(flight: Flight, slot: number, time: number, step: Step): void {
    const when = soonest(this.#kernel.now, time);
    flight.step = step;
    flight.event = when === null ? -1 : this.#kernel.schedule(when, "flight", slot);
  }

  #onFlight(slot: number, sequence: number): void | Promise<void> {
    const flight = this.#flights.get(slot);
    if (flight === null || flight.event !== sequence) return;
    const { now } = this.#kernel;
    switch (flight.step) {
      case "refusal":
        this.#close(flight, slot, flight.stopReason, flight.stage === "download" ? "before-download" : flight.stage);
        return;
      case "cut":
        this.#lose(flight, slot, flight.cutReason);
        return;
      case "turn":
        this.#repace(flight, slot);
        return;
      case "look":
        settle(flight, now);
        if (!flight.isShared || flight.done < flight.stopAt) this.#plan(flight, slot);
        return;
      case "resend":
        if (now >= flight.cutAt) {
          this.#lose(flight, slot, flight.cutReason);
          return;
        }
        flight.attempt++;
        flight.done = 0;
        flight.since = now;
        this.#send(flight);
        this.#trace({ t: now, type: "resend", client: flight.client, leg: flight.stage, attempt: flight.attempt });
        this.#repace(flight, slot);
        return;
      case "copy":
        this.#meter.sent(flight);
        this.#meter.received(flight);
        this.#flights.remove(slot);
        return this.#outlet!.arrived(flight.ticket, flight.fate === "corrupted" ? "corrupted" : "intact");
      default:
        return this.#finish(flight, slot);
    }
  }

  #finish(flight: Flight, slot: number): void | Promise<void> {
    const { now } = this.#kernel;
    settle(flight, now);
    const { client, ticket, stage, startedAt, fate } = flight;
    const failure = flight.stopReason === "" ? this.#presence.endCheck(client, now) : flight.stopReason;
    if (failure !== null) {
      this.#lose(flight, slot, failure);
      return;
    }
    if (fate === "missing") {
      this.#miss(flight, slot);
      return;
    }
    this.#meter.occupied(flight, now - startedAt);
    this.#presence.batteries?.debit(client, stage, now, now - startedAt);
    if (flight.is === "work") {
      this.#onlooker?.computed(flight);
      this.#flights.remove(slot);
      return this.#outlet!.computed(ticket);
    }
    this.#meter.received(flight);
    this.#onlooker?.arrived(flight, stage, fate);
    if (flight.isDoubled) this.#await(flight, slot, now + this.#network.retry.timeout, "copy");
    else this.#flights.remove(slot);
    return this.#outlet!.arrived(ticket, fate);
  }

  /** A copy was lost in the network: its sender waits, and tries again or gives up. */
  #miss(flight: Flight, slot: number): void {
    const { timeout, attempts } = this.#network.retry;
    if (flight.attempt + 1 >= attempts) {
      this.#lose(flight, slot, "lost-message");
      return;
    }
    this.#meter.lost(flight, flight.total);
    flight.isMetered = false;
    const time = after(this.#kernel.now, timeout);
    // What ends the flight meanwhile comes as a resend, too: until then nothing that happens can move it.
    this.#await(flight, slot, Math.min(flight.cutAt, time), "resend");
  }

  /** Ends work that is under way without a result. */
  #lose(flight: Flight, slot: number, reason: string): void {
    const { now } = this.#kernel;
    const { client, stage, startedAt } = flight;
    settle(flight, now);
    this.#breakOff(flight);
    this.#meter.occupied(flight, now - startedAt);
    this.#presence.batteries?.debit(client, stage, now, now - startedAt);
    this.#close(flight, slot, reason, flight.stage);
  }

  /** The bytes of the present copy that have left are lost; the others never leave. */
  #breakOff(flight: Flight): void {
    if (!flight.isMetered) return;
    this.#meter.lost(flight, Math.floor(flight.done));
    flight.isMetered = false;
  }

  #close(flight: Flight, slot: number, reason: string, phase: Phase): void {
    const { ticket, client, participation, round } = flight;
    this.#flights.remove(slot);
    if (flight.isShared) this.#links.leave(flight, slot);
    const loss: Loss = { client, participation, round, phase, reason, at: this.#kernel.now };
    this.#onlooker?.lost(loss);
    this.#outlet!.lost(ticket, loss);
  }

  /** Lets everything under way feel an effect that has begun or ended. */
  #react(effect: PlainEffect, change: "begins" | "ends"): void {
    if (effect.type === "dropout" || effect.type === "message-loss") return;
    const covers = this.#conditions.covers(effect);
    const touched = this.#flights.slots(({ client, step }) => step !== "copy" && step !== "refusal" && covers(client));
    for (const slot of touched) {
      const flight = this.#flights.get(slot);
      // What one flight's loss led to may have ended another.
      if (flight !== null) this.#touch(flight, slot, effect, change);
    }
  }

  #touch(flight: Flight, slot: number, effect: PlainEffect, change: "begins" | "ends"): void {
    if (effect.type === "crash") {
      this.#lose(flight, slot, "crash");
      return;
    }
    if (effect.type === "outage" && change === "begins" && this.#presence.refusal(flight.client, this.#kernel.now)) {
      this.#lose(flight, slot, "outage");
      return;
    }
    if (flight.step === "resend") return;
    if (effect.type === "server-restart" && change === "begins" && flight.is !== "work") {
      settle(flight, this.#kernel.now);
      this.#breakOff(flight);
      flight.done = 0;
      flight.since = this.#kernel.now;
    }
    this.#repace(flight, slot);
  }
}
