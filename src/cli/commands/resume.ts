/** `flame resume <run>`. */
import { given } from "../../base/given.ts";
import type { MergeLimit } from "../../engine/merge-limit.ts";
import { consentOf } from "../screen/ask.ts";
import { watchResume } from "../screen/watch.ts";
import { type NatsFlags, natsOf } from "./nats-flags.ts";

interface ResumeFlags extends NatsFlags {
  readonly workers?: number;
  readonly engine?: string;
  readonly merge?: "auto" | MergeLimit;
  readonly taskLimit?: number;
  readonly force?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly scenario?: string;
  readonly trustCode?: string;
}

export async function resumeRun(folder: string, flags: ResumeFlags): Promise<void> {
  await watchResume({
    folder,
    force: flags.force === true,
    consent: consentOf(flags),
    ...given({ workers: flags.workers, engine: flags.engine, merge: flags.merge, taskLimit: flags.taskLimit }),
    ...natsOf(flags),
    json: flags.json === true,
    quiet: flags.quiet === true,
  });
}
