/**
 * Stands between the actors and the simulated world and sees what happens to each participation on its way. It passes
 * everything on as it came.
 */
import type { ClientId, ParticipationId } from "../base/ids.ts";
import type { Snapshot } from "../base/snapshot.ts";
import type { Millis } from "../base/units.ts";
import type { Computation, Condition, Environment, Leg, Loss, Outlet, Traffic, Transfer } from "../sim/environment.ts";

export interface WitnessOptions {
  readonly world: Environment;
  onArrived(leg: Leg, transfer: Pick<Transfer, "client" | "participation" | "round">, condition: Condition): void;
  onComputed(participation: ParticipationId): void;
  onLost(loss: Loss): void;
}

/** What a ticket stands for. */
interface Ticket {
  readonly ticket: number;
  readonly client: ClientId;
  readonly participation: ParticipationId;
  readonly round: Transfer["round"];
  readonly leg: Leg | "compute";
}

interface WitnessState {
  readonly tickets: readonly Ticket[];
  readonly world: unknown;
}

export class Witness implements Environment, Snapshot<WitnessState> {
  readonly #options: WitnessOptions;
  readonly #world: Environment;
  #tickets = new Map<number, Ticket>();

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
        const known = this.#tickets.get(ticket);
        // A second copy of a message says nothing new.
        if (known !== undefined && known.leg !== "compute") {
          this.#tickets.delete(ticket);
          onArrived(known.leg, known, condition);
        }
        return outlet.arrived(ticket, condition);
      },
      computed: (ticket) => {
        const known = this.#tickets.get(ticket)!;
        this.#tickets.delete(ticket);
        onComputed(known.participation);
        return outlet.computed(ticket);
      },
      lost: (ticket, loss) => {
        this.#tickets.delete(ticket);
        onLost(loss);
        outlet.lost(ticket, loss);
      },
    });
  }

  transfer(transfer: Transfer): void {
    const { ticket, client, participation, round, leg } = transfer;
    this.#tickets.set(ticket, { ticket, client, participation, round, leg });
    this.#world.transfer(transfer);
  }

  compute(computation: Computation): void {
    const { ticket, client, participation, round } = computation;
    this.#tickets.set(ticket, { ticket, client, participation, round, leg: "compute" });
    this.#world.compute(computation);
  }

  isAvailable(client: ClientId): boolean {
    return this.#world.isAvailable(client);
  }

  nextAvailability(): Millis | null {
    return this.#world.nextAvailability();
  }

  snapshot(): WitnessState {
    return { tickets: [...this.#tickets.values()], world: this.#world.snapshot() };
  }

  restore(state: unknown): void {
    const { tickets, world } = state as WitnessState;
    this.#tickets = new Map(tickets.map((entry) => [entry.ticket, { ...entry }]));
    this.#world.restore(world);
  }
}
