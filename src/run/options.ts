/** What may be said of how a run is carried out; what it computes is in its scenario. */
import { ScenarioError } from "../base/errors.ts";
import type { MergeLimit } from "../engine/merge-limit.ts";
import type { Forecast } from "../records/forecast.ts";
import type { Ended } from "../records/participation.ts";
import type { NatsAddress } from "../runtime/pools/nats-address.ts";
import type { WorkPool } from "../runtime/pools/pool.ts";
import type { Invited } from "./federation.ts";
import type { Prepared } from "./prepare.ts";
import type { ProgressListener } from "./progress.ts";
import type { ScenarioSource } from "./provenance.ts";

export interface RunOptions {
  /** Worker threads; with `nats` it may be 0. One per core unless given, on a GPU always one. The result does not depend on it. */
  readonly workers?: number;
  readonly engine?: string;
  /** How many clients share a call; `auto`, the default, is one on a CPU, and on a GPU as many as its memory holds. */
  readonly merge?: "auto" | MergeLimit;
  /** The run's folder; null leaves nothing on disk. */
  readonly out?: string | null;
  /** The command line that runs this scenario and seed again. */
  readonly reproduce?: string;
  /** Ends the run after the present event, with a checkpoint. */
  readonly signal?: AbortSignal;
  readonly listen?: ProgressListener;
  /** @internal Made once the run is prepared; told of every part a client has in it, since the last checkpoint where it goes on. */
  readonly bookkeeper?: (prepared: Prepared) => Bookkeeper;
  /** @internal What is said of a run that has been prepared, before it begins. */
  readonly forecast?: (prepared: Prepared) => Promise<Forecast>;
  /** @internal Stands in for the pool that would be made. The run closes it. */
  readonly pool?: (prepared: Prepared) => WorkPool;
  /** Real minutes without a finished step after which a worker is held to be stuck; 10 unless given. */
  readonly taskLimit?: number;
  /** A NATS server: workers that are there train as well. */
  readonly nats?: NatsAddress;
  /** Workers elsewhere may have any processor; otherwise that of this machine. Marks the run. */
  readonly mixedHardware?: boolean;
  /** @internal Where the scenario came from, when that was a file with code. */
  readonly source?: ScenarioSource;
  /** Where the scenario's relative paths begin; the working folder unless given. */
  readonly startedIn?: string;
  /** Begins although memory will not last; see `ResumeOptions` for a run that goes on. */
  readonly force?: boolean;
}

const optionNames: Readonly<Record<keyof RunOptions, true>> = {
  workers: true,
  engine: true,
  merge: true,
  out: true,
  reproduce: true,
  signal: true,
  listen: true,
  bookkeeper: true,
  forecast: true,
  pool: true,
  taskLimit: true,
  nats: true,
  mixedHardware: true,
  source: true,
  startedIn: true,
  force: true,
};

export const refuseUnknown = (options: RunOptions): void => refuseOthers("run", options, optionNames);

/** @throws ScenarioError that names the options that are none */
export function refuseOthers(what: "run" | "study", options: object, names: Readonly<Record<string, true>>): void {
  const unknown = Object.keys(options).filter((name) => !Object.hasOwn(names, name));
  if (unknown.length === 0) return;
  const known = Object.keys(names).join(", ");
  throw new ScenarioError(`${what}: ${unknown.join(", ")} is no option of a ${what}, expected some of ${known}`);
}

export interface Bookkeeper {
  invited(invited: Invited): void;
  ended(ended: Ended): void;
}
