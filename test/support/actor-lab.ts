/** A small world for tests of the runtime: fixed delays unless a test says otherwise, and a scrambled pool. */
import type { ClientId, ParticipationId, Round } from "../../src/base/ids.ts";
import { Rng } from "../../src/base/random.ts";
import type { Millis } from "../../src/base/units.ts";
import type { Registration } from "../../src/runtime/actor.ts";
import { BlobStore } from "../../src/runtime/messages/blobs.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import type { PoolDiagnostics, Task, WorkPool } from "../../src/runtime/pools/pool.ts";
import { ActorSystem } from "../../src/runtime/system.ts";
import type { Computation, Condition, Environment, Outlet, Transfer } from "../../src/sim/flight/environment.ts";
import type { Stage } from "../../src/sim/flight/stages.ts";
import { Kernel } from "../../src/sim/kernel/kernel.ts";
import { Trace } from "../../src/sim/kernel/trace.ts";
import { handlers } from "./pool-worker.ts";

/** What happens to a message or a computation: answers, each some time after it began. */
export type Fate = readonly { readonly in: number; readonly as: Condition | "computed" | "dropout" | "crash" }[];

export interface LabWeather {
  readonly transfer: (transfer: Transfer) => Fate;
  readonly compute: (computation: Computation) => Fate;
}

export const calm: LabWeather = {
  transfer: () => [{ in: 10, as: "intact" }],
  compute: ({ duration }) => [{ in: duration, as: "computed" }],
};

interface Answer {
  readonly ticket: number;
  readonly as: Fate[number]["as"];
  readonly client: ClientId;
  readonly participation: ParticipationId;
  readonly round: Round;
  readonly phase: Stage;
}

export class LabEnvironment implements Environment {
  readonly traffic = { downloadSent: 0, downloadReceived: 0, uploadSent: 0, uploadReceived: 0 };
  readonly transfers: Transfer[] = [];
  readonly computations: Computation[] = [];
  readonly #kernel: Kernel;
  readonly #weather: LabWeather;
  #outlet!: Outlet;

  constructor(kernel: Kernel, weather: LabWeather) {
    this.#kernel = kernel;
    this.#weather = weather;
    kernel.on<Answer>("answer", (answer) => this.#answer(answer));
  }

  connect(outlet: Outlet): void {
    this.#outlet = outlet;
  }

  transfer(transfer: Transfer): void {
    this.transfers.push(transfer);
    this.#schedule(this.#weather.transfer(transfer), transfer, transfer.stage);
  }

  compute(computation: Computation): void {
    this.computations.push(computation);
    this.#schedule(this.#weather.compute(computation), computation, "training");
  }

  isAvailable(): boolean {
    return true;
  }

  nextAvailability(): Millis | null {
    return null;
  }

  /** Everything that is under way lies in the kernel's queue. */
  snapshot(): null {
    return null;
  }

  restore(): void {}

  #schedule(fate: Fate, { ticket, client, participation, round }: Transfer | Computation, phase: Answer["phase"]) {
    for (const { in: delay, as } of fate) {
      const answer: Answer = { ticket, as, client, participation, round, phase };
      this.#kernel.schedule((this.#kernel.now + delay) as Millis, "answer", answer);
    }
  }

  #answer({ ticket, as, client, participation, round, phase }: Answer): void | Promise<void> {
    if (as === "intact" || as === "corrupted") return this.#outlet.arrived(ticket, as);
    if (as === "computed") return this.#outlet.computed(ticket);
    this.#outlet.lost(ticket, { client, participation, round, phase, reason: as, at: this.#kernel.now });
  }
}

/** Does the work at once and hands it back in another order, as many at a time as it has workers. */
export class ScrambledPool implements WorkPool {
  readonly workers: number;
  readonly #inner = new InlinePool(handlers);
  readonly #salt: number;
  #tasks = 0;

  constructor(workers: number, salt: number) {
    this.workers = workers;
    this.#salt = salt;
  }

  get diagnostics(): PoolDiagnostics {
    return this.#inner.diagnostics;
  }

  async run(task: Task, isWanted?: () => boolean): Promise<unknown> {
    const detour = (this.#tasks++ * 7 + this.#salt) % (3 * this.workers);
    for (let step = 0; step < detour; step++) await Promise.resolve();
    return this.#inner.run(task, isWanted);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

export interface Lab {
  readonly kernel: Kernel;
  readonly environment: LabEnvironment;
  readonly trace: Trace;
  readonly blobs: BlobStore;
  readonly pool: WorkPool;
  readonly system: ActorSystem;
  /** Rows of the trace so far. */
  readonly rows: () => Record<string, unknown>[];
}

export interface LabOptions {
  readonly weather?: LabWeather;
  readonly pool?: WorkPool;
  readonly seed?: number;
}

export function openLab(actors: readonly Registration[], options: LabOptions = {}): Lab {
  const { weather = calm, pool = new InlinePool(handlers), seed = 1 } = options;
  let text = "";
  const kernel = new Kernel();
  const environment = new LabEnvironment(kernel, weather);
  const trace = new Trace({ mode: "full", sink: { write: (lines) => (text += lines) } });
  const blobs = new BlobStore();
  const rng = new Rng(seed);
  const reproduce = `npx flame run lab.ts --seed ${seed}`;
  const system = new ActorSystem({ actors, kernel, environment, rng, trace, pool, blobs, reproduce });
  const rows = () => {
    trace.flush();
    return text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  };
  return { kernel, environment, trace, blobs, pool, system, rows };
}
