/** A fleet in a process of its own, so that its memory can be told from everything else's; prints one JSON object. */
import { peakMemory } from "../src/base/processes.ts";
import { Federation } from "../src/run/federation.ts";
import type { Prepared } from "../src/run/prepare.ts";
import { prepareRun } from "../src/run/run.ts";
import { InlinePool } from "../src/runtime/pools/inline-pool.ts";
import { benchFleet, type FleetSize } from "./fleet-scenario.ts";

export interface FleetRun {
  readonly buildSeconds: number;
  readonly runSeconds: number;
  readonly events: number;
  /** Most resident memory the process ever had, in bytes. */
  readonly peakBytes: number;
  /** Memory in use at the end, without garbage. */
  readonly liveBytes: number;
}

async function main(size: FleetSize): Promise<FleetRun> {
  const scenario = benchFleet(size);
  const begun = performance.now();
  const prepared = await prepareRun(scenario, {});
  const federation = federationOf(scenario, prepared);
  const built = performance.now();
  federation.begin();
  await federation.advance(() => false);
  const ended = performance.now();
  return {
    // First, while the fleet is still in use.
    liveBytes: liveBytes(),
    buildSeconds: (built - begun) / 1_000,
    runSeconds: (ended - built) / 1_000,
    events: federation.kernel.processed,
    peakBytes: peakMemory(),
  };
}

export const federationOf = (scenario: ReturnType<typeof benchFleet>, prepared: Prepared): Federation =>
  new Federation({
    scenario,
    prepared,
    pool: new InlinePool({}),
    events: null,
    reproduce: "npm run bench -- fleet",
    onParticipation() {},
    onRow() {},
    onRoundClosed() {},
  });

function liveBytes(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const [, , given] = process.argv;
if (given?.startsWith("{")) void main(JSON.parse(given) as FleetSize).then((run) => console.log(JSON.stringify(run)));
