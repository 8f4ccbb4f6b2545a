/** What can be said of a run before it begins: `flame forecast`, and in short what every run opens with. */
import * as z from "zod";
import { count, instant } from "./counts.ts";

const bytes = z.number().min(0);

export const forecastSchema = z.object({
  clients: count,
  rounds: count,
  /** Invitations of the whole run, and how many of them will be counted. */
  invited: count,
  counted: count,
  /** Bytes of the whole run, also to and from clients that come to nothing. */
  downloadBytes: bytes,
  uploadBytes: bytes,
  /** Milliseconds of virtual time: of the run, and of its median round. */
  virtualTime: instant,
  round: instant,
  tiers: z
    .array(
      z.object({
        tier: z.string(),
        clients: count,
        /** Of one invitation and one update in round 1, besides their envelopes. */
        downloadBytes: bytes,
        uploadBytes: bytes,
        /** Median milliseconds of virtual time from invitation to arrival; null where no update arrived. */
        part: instant.nullable(),
        /** Real seconds in which one core of this machine trains such a part, in the median; null where no step was timed. */
        seconds: z.number().min(0).nullable(),
      }),
    )
    .readonly(),
  /** Optimizer steps of updates that count: what is really trained. */
  steps: count,
  /** Real seconds on this machine; null where nothing is trained. */
  seconds: z.number().min(0).nullable(),
  /** Where those come from: steps that were timed here, or a formula, which may be wrong by a factor. */
  timed: z.boolean(),
  /** Bytes of the process at its largest. */
  memory: bytes,
  /** Worker threads that have something to do. */
  workers: count,
  /** Clients of one call, by budget. */
  together: z.array(z.object({ budget: count, clients: count })).readonly(),
  /** Whether all rounds were played ahead; else they are taken to go on like the first ones. */
  whole: z.boolean(),
  warnings: z.array(z.string()).readonly(),
});

export type Forecast = Readonly<z.output<typeof forecastSchema>>;
