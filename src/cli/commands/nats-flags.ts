/** What commands are told of workers elsewhere. */
import { ScenarioError } from "../../base/errors.ts";
import { given } from "../../base/given.ts";
import type { RunOptions } from "../../run/options.ts";

export interface NatsFlags {
  readonly nats?: string;
  readonly creds?: string;
  readonly mixedHardware?: boolean;
}

/** @throws ScenarioError for what says nothing without a server */
export function natsOf({ nats, creds, mixedHardware }: NatsFlags): Pick<RunOptions, "nats" | "mixedHardware"> {
  if (nats !== undefined) return { nats: { url: nats, ...given({ creds }) }, ...given({ mixedHardware }) };
  const alone = creds !== undefined ? "--creds" : mixedHardware === true ? "--mixed-hardware" : null;
  if (alone !== null) throw new ScenarioError(`${alone} goes with --nats, which is missing`);
  return {};
}
