/**
 * Stands between the actors and the simulated world and sees what happens to each participation on its way. It passes
 * everything on as it came.
 */
import type { ClientId, ParticipationId } from "../base/ids.ts";
import { NumberMap } from "../base/number-map.ts";
import type { Snapshot } from "../base/snapshot.ts";
import type { Millis } from "../base/units.ts";
import type { Computation, Condition, Environment, Leg, Loss, Outlet, Traffic, Transfer } from "../sim/environment.ts";

export interface WitnessOptions {
  readonly world: Environment;
  onArrived(leg: Leg, transfer: Pick<Transfer, "client" | "participation" | "round">, condition: Condition): void;
  onComputed(participation: ParticipationId): void;
  onLost(loss: Loss): void;
}

/** What a ticket stands for: a computation has no leg. */
type Errand = Transfer | Computation;

interface WitnessState {
  readonly errands: readonly Errand[];
  readonly world: unknown;
}

export class Witness implements Environment, Snapshot<WitnessState> {
  readonly #options: WitnessOptions;
  readonly #world: Environment;
  #errands = new NumberMap<Errand>();

  constructor(options: WitnessOptions) {
    this.#options = options;
    this.#world = options.world;
  }

  get traffic(): Traffic {
    return this.#world.traffic;
  }

  connect(outlet: Outlet): void {
    const { onArrived, onComputed, onLost } = this.#options;
    this.#world.connect({
      arrived: (ticket, condition) => {
        const known = this.#errands.take(ticket);
        // A second copy of a message says nothing new.
        if (known !== undefined && "leg" in known) onArrived(known.leg, known, condition);
        return outlet.arrived(ticket, condition);
      },
      computed: (ticket) => {
        onComputed(this.#errands.take(ticket)!.participation);
        return outlet.computed(ticket);
      },
      lost: (ticket, loss) => {
        this.#errands.take(ticket);
        onLost(loss);
        outlet.lost(ticket, loss);
      },
    });
  }

  transfer(transfer: Transfer): void {
    this.#errands.set(transfer.ticket, transfer);
    this.#world.transfer(transfer);
  }

  compute(computation: Computation): void {
    this.#errands.set(computation.ticket, computation);
    this.#world.compute(computation);
  }

  isAvailable(client: ClientId): boolean {
    return this.#world.isAvailable(client);
  }

  nextAvailability(): Millis | null {
    return this.#world.nextAvailability();
  }

  snapshot(): WitnessState {
    return { errands: this.#errands.values(), world: this.#world.snapshot() };
  }

  restore(state: unknown): void {
    const { errands, world } = state as WitnessState;
    this.#errands = new NumberMap(errands.map((errand) => [errand.ticket, errand]));
    this.#world.restore(world);
  }
}
