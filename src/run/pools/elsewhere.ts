/** What a run says of the workers it wants. Apart from their pools, so that published types do not reach into those. */
import type { MergeLimit } from "../../engine/merge-limit.ts";
import type { EngineName } from "../../engine/names.ts";
import type { WorkPool } from "../../runtime/pools/pool.ts";

export interface Equipment {
  readonly engine: EngineName;
  readonly merge?: "auto" | MergeLimit;
  /** Real minutes after which a worker that finishes no step is held to be stuck; 10 unless given. */
  readonly taskLimit?: number;
}

/** A pool with workers on other machines, whoever is there, beside so many of this one. */
export type OpenElsewhere = (
  workers: number,
  equipment: Equipment,
  run: {
    readonly title: string;
    /** With any kind of processor; otherwise with that of this machine. */
    readonly mixedHardware: boolean;
    /** What a task has come to there, and who comes and goes. */
    readonly note: (topic: "task" | "workers", text: string) => void;
  },
) => Promise<WorkPool>;
