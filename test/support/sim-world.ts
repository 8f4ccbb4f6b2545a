/** Small worlds for tests: a fleet of equal devices, and clients that download, train, upload and are acknowledged. */
import { type ClientId, clientId, participationId, round } from "../../src/base/ids.ts";
import { Rng } from "../../src/base/random.ts";
import { type Millis, seconds } from "../../src/base/units.ts";
import type { Fleet } from "../../src/sim/fleet/fleet.ts";
import type { Loss } from "../../src/sim/flight/environment.ts";
import { type Stage as StageName, stageNames, stages } from "../../src/sim/flight/stages.ts";
import { Kernel } from "../../src/sim/kernel/kernel.ts";
import type { TraceRow } from "../../src/sim/kernel/trace.ts";
import { createWorld, type World } from "../../src/sim/world.ts";
import { defaultWorldSpec, type WorldSpec } from "../../src/sim/world-spec.ts";

export interface FleetShape {
  readonly size: number;
  readonly regions?: number;
  readonly tiers?: readonly string[];
  /** Bytes per second, both ways. */
  readonly rate?: number;
  /** Milliseconds. */
  readonly latency?: number;
}

/** Regions and tiers take turns over the rows. */
export function equalFleet({ size, regions = 1, tiers = ["all-equal"], rate = 1e6, latency = 0 }: FleetShape): Fleet {
  const fleet: Fleet = {
    size,
    tierNames: tiers,
    regionNames: Array.from({ length: regions }, (_, i) => `region-${i}`),
    tier: new Uint16Array(size).map((_, i) => i % tiers.length),
    region: new Uint16Array(size).map((_, i) => i % regions),
    budget: new Uint8Array(size).fill(1),
    tokensPerSecond: new Float64Array(size).fill(100),
    downlink: new Float64Array(size).fill(rate),
    uplink: new Float64Array(size).fill(rate),
    latency: new Float64Array(size).fill(latency),
    examples: new Float64Array(size).fill(10),
    tokens: new Float64Array(size).fill(640),
  };
  return fleet;
}

export interface Stage {
  readonly kernel: Kernel;
  readonly world: World;
  readonly fleet: Fleet;
  readonly rows: TraceRow[];
}

export interface StageOptions {
  readonly fleet: Fleet;
  readonly spec?: Partial<WorldSpec>;
  readonly seed?: number;
}

export function stage({ fleet, spec = {}, seed = 1 }: StageOptions): Stage {
  const kernel = new Kernel();
  const rows: TraceRow[] = [];
  const onTrace = (row: TraceRow) => void rows.push(row);
  const world = createWorld({ kernel, rng: new Rng(seed), fleet, spec: { ...defaultWorldSpec, ...spec }, onTrace });
  return { kernel, world, fleet, rows };
}

/** What the world said of one ticket, in the order it said it. */
export interface Ending {
  readonly ticket: number;
  readonly at: number;
  readonly how: "intact" | "corrupted" | "computed" | "lost";
  readonly loss?: Loss;
}

/** Collects what the world says. */
export function listen({ kernel, world }: Stage, then: (ending: Ending) => void = () => {}): Ending[] {
  const endings: Ending[] = [];
  const note = (ending: Ending) => {
    endings.push(ending);
    then(ending);
  };
  world.connect({
    arrived: (ticket, how) => note({ ticket, at: kernel.now, how }),
    computed: (ticket) => note({ ticket, at: kernel.now, how: "computed" }),
    lost: (ticket, loss) => note({ ticket, at: kernel.now, how: "lost", loss }),
  });
  return endings;
}

/** Calls `action` at the given instant of virtual time. */
export class Script {
  readonly #actions: (() => void)[] = [];
  readonly #kernel: Kernel;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    kernel.on<number>("script", (index) => this.#actions[index]!());
  }

  at(time: number, action: () => void): void {
    this.#kernel.schedule(time as Millis, "script", this.#actions.push(action) - 1);
  }
}

/** Stages of a part at most. */
const most = 64;

export interface Part {
  readonly client: number;
  readonly round: number;
  /** When the invitation is sent. */
  readonly at: number;
}

export interface PartResult {
  readonly part: Part;
  /** Null if every stage came to its end. */
  readonly loss: Loss | null;
  readonly endedAt: number;
  readonly isCorrupted: boolean;
}

export interface PartCost {
  readonly downloadBytes?: number;
  readonly uploadBytes?: number;
  readonly duration?: number;
  /** Stages of a part, from the first on; all if left out. */
  readonly stages?: number;
  /** Whether it has those that a plan asks for. */
  readonly hasAsked?: boolean;
}

/** Runs parts side by side, each through its stages. Ticket = 64 · number of the part + number of the stage. */
export class Parts {
  readonly results: (PartResult | undefined)[] = [];
  readonly #stage: Stage;
  readonly #stages: readonly StageName[];
  readonly #parts: readonly Part[];
  readonly #cost: PartCost;
  readonly #arrived = new Set<number>();
  readonly #corrupted = new Set<number>();

  constructor(stage: Stage, parts: readonly Part[], cost: PartCost = {}) {
    this.#stage = stage;
    this.#stages = stageNames.filter((name) => cost.hasAsked === true || !stages[name].isAsked);
    this.#parts = parts;
    this.#cost = cost;
    stage.kernel.on<number>("invite", (number) => this.#begin(number, 0));
    for (const [number, { at }] of parts.entries()) stage.kernel.schedule(at as Millis, "invite", number);
  }

  /** Takes up what the world says of a ticket. */
  hear({ ticket, at, how, loss }: Ending): void {
    if (loss !== undefined) {
      this.#end(Math.floor(ticket / most), at, loss);
      return;
    }
    // A second copy is known already.
    if (this.#arrived.has(ticket)) return;
    this.#arrived.add(ticket);
    const number = Math.floor(ticket / most);
    if (how === "corrupted") this.#corrupted.add(number);
    const next = (ticket % most) + 1;
    if (next < (this.#cost.stages ?? this.#stages.length)) this.#begin(number, next);
    else this.#end(number, at, null);
  }

  /** Goes on where another run of the same parts was stopped. */
  takeUp(other: Parts): void {
    for (const ticket of other.#arrived) this.#arrived.add(ticket);
    for (const number of other.#corrupted) this.#corrupted.add(number);
    for (const [number, result] of other.results.entries()) this.results[number] = result;
  }

  #begin(number: number, at: number): void {
    const { client, round: r } = this.#parts[number]!;
    const { downloadBytes = 1_000, uploadBytes = 1_000, duration = seconds(10) } = this.#cost;
    const kind = this.#stages[at]!;
    const common = {
      ticket: most * number + at,
      client: clientId(client),
      participation: participationId(number),
      round: round(r),
    };
    if (kind === "training") this.#stage.world.compute({ ...common, duration: duration as Millis });
    else {
      const bytes = kind === "upload" ? uploadBytes : kind === "download" ? downloadBytes : 100;
      this.#stage.world.transfer({ ...common, stage: kind, bytes });
    }
  }

  #end(number: number, at: number, loss: Loss | null): void {
    this.results[number] ??= {
      part: this.#parts[number]!,
      loss,
      endedAt: at,
      isCorrupted: this.#corrupted.has(number),
    };
  }
}

/** Runs all parts to their end. */
export async function play(options: StageOptions, parts: readonly Part[], cost?: PartCost): Promise<PartResult[]> {
  const own = stage(options);
  const driver = new Parts(own, parts, cost);
  listen(own, (ending) => driver.hear(ending));
  await own.kernel.run();
  return driver.results as PartResult[];
}

/** Computations of all clients in each of `rounds` rounds: per round the seconds each took; Infinity if it was lost. */
export async function computeRounds(
  options: StageOptions,
  rounds: number,
  duration = seconds(1_000),
): Promise<number[][]> {
  const own = stage(options);
  const { kernel, world, fleet } = own;
  const times = Array.from({ length: rounds }, () => new Array<number>(fleet.size).fill(Infinity));
  let start = 0;
  let current = 0;
  world.connect({
    arrived: () => {},
    computed: (ticket) => {
      times[current]![ticket % fleet.size] = (kernel.now - start) / 1_000;
    },
    lost: () => {},
  });
  for (; current < rounds; current++) {
    start = kernel.now;
    for (let client = 0; client < fleet.size; client++) {
      world.compute({
        ticket: current * fleet.size + client,
        client: clientId(client),
        participation: participationId(current * fleet.size + client),
        round: round(current + 1),
        duration,
      });
    }
    await kernel.run();
  }
  return times;
}

export const clients = (fleet: Fleet): ClientId[] => Array.from({ length: fleet.size }, (_, i) => clientId(i));

export interface Moments {
  readonly mean: number;
  readonly variance: number;
  /** Standard error of the mean. */
  readonly error: number;
}

export function moments(values: readonly number[]): Moments {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  return { mean, variance, error: Math.sqrt(variance / values.length) };
}

/** Standard error of a share of `count` independent draws. */
export const shareError = (share: number, count: number): number => Math.sqrt((share * (1 - share)) / count);
