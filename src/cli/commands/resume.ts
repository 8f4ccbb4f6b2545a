/** `flame resume <run>`. */
import { type Command, InvalidArgumentError } from "commander";
import type { MergeLimit } from "../../engine/merge-limit.ts";
import { mergeOption, minutesOption } from "../options.ts";
import { watchResume } from "../screen/watch.ts";

interface ResumeFlags {
  readonly workers?: number;
  readonly engine?: string;
  readonly merge?: "auto" | MergeLimit;
  readonly taskLimit?: number;
  readonly force?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export function register(program: Command): void {
  program
    .command("resume")
    .description("continues an interrupted run from its newest good checkpoint")
    .argument("<run>", "the run's folder")
    .option("--workers <number>", "worker threads; the result does not depend on it (default: one per core)", workers)
    .option("--engine <name>", "what trains: auto, onnx, …")
    .option("--merge <clients>", "how many clients share a call of the device: auto, 8, … (default: auto)", mergeOption)
    .option(
      "--task-limit <minutes>",
      "after how long a worker that finishes no step is held to be stuck (default: 10)",
      minutesOption,
    )
    .option("--force", "continue although program, scenario or engine have changed; the run is marked so")
    .option("--json", "print one JSON object per line")
    .option("--quiet", "print only the verdict")
    .action(async (folder: string, flags: ResumeFlags) => {
      await watchResume({
        folder,
        force: flags.force === true,
        ...(flags.workers === undefined ? {} : { workers: flags.workers }),
        ...(flags.engine === undefined ? {} : { engine: flags.engine }),
        ...(flags.merge === undefined ? {} : { merge: flags.merge }),
        ...(flags.taskLimit === undefined ? {} : { taskLimit: flags.taskLimit }),
        json: flags.json === true,
        quiet: flags.quiet === true,
      });
    });
}

function workers(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError("expected a whole number of at least 1.");
  return Number(text);
}
