/**
 * Every strategy on 1, 2 and 8 workers, resumed after every round and again and again between, under policies that wait and
 * that do not; then says which of them left other bytes than one worker in one go.
 *
 *   npm run contract
 *   npm run contract -- --only fedvra,scaffold     strategies whose specs have one of these words in them
 *   npm run contract -- --first 20                 the first so many
 *
 * `npm run test:all` does the same on 1 and 3 workers, each strategy with each commit under one of the policies.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { messageOf } from "../src/base/errors.ts";
import { strategyFromSpec } from "../src/fl/strategies/registry.ts";
import { loadRun, resume } from "../src/run/resume.ts";
import { run } from "../src/run/run.ts";
import { assertSameRun, interruptAfter } from "../test/support/run-folders.ts";
import { type Policy, resultsIn, scenarioOf, sharedPool, strategyRuns } from "../test/support/strategy-runs.ts";
import { tinyModel } from "../test/support/tiny-model.ts";

const { values } = parseArgs({ options: { only: { type: "string", default: "" }, first: { type: "string" } } });

const words = values.only.split(",");
const wanted = strategyRuns
  .filter(([spec]) => words.some((word) => JSON.stringify(spec).includes(word)))
  .slice(0, values.first === undefined ? undefined : Number(values.first));

const folder = mkdtempSync(join(tmpdir(), "flame-contract-"));
process.env.XDG_CACHE_HOME = join(folder, "cache");
const model = tinyModel(folder);
const reproduce = "npm run contract";
const [one, two, eight] = [sharedPool(1), sharedPool(2), sharedPool(8)];
const pools = [one, two, eight];

const failures: string[] = [];
let compared = 0;
let legs = 0;
for (const [number, [spec, task]] of wanted.entries()) {
  for (const policy of ["synchronous", "buffered"] as const) {
    const title = `${JSON.stringify(spec)}, ${task}, ${policy}`;
    try {
      await compare(number, policy);
      console.log(`${number + 1} of ${wanted.length}: ${title}`);
    } catch (error) {
      failures.push(`${title}: ${messageOf(error)}`);
      console.log(failures.at(-1));
    }
  }
}
for (const { close } of pools) await close();
rmSync(folder, { recursive: true, force: true });
console.log(
  `${compared} runs were compared with one worker's, ${legs} legs of those resumed; ${failures.length} failures`,
);
process.exitCode = failures.length === 0 ? 0 : 1;

async function compare(number: number, policy: Policy): Promise<void> {
  const [spec, task] = wanted[number]!;
  const at = (name: string) => join(folder, `${number}-${policy}-${name}`);
  const scenario = () => scenarioOf(model, strategyFromSpec(spec), task, policy);
  const { diagnostics } = await run(scenario(), { out: at("one"), reproduce, pool: one.poolFor });
  const check = (name: string) => {
    assertSameRun(at(name), at("one"), name, resultsIn(at("one")));
    compared++;
  };
  for (const [name, pool] of Object.entries({ two, eight })) {
    await run(scenario(), { out: at(name), reproduce, pool: pool.poolFor });
    check(name);
  }
  await inLegs(at("each round"), scenario, afterNextRound);
  check("each round");
  const events = Math.ceil(diagnostics.events! / 7);
  await inLegs(at("seven legs"), scenario, () => ({ signal: interruptAfter(events) }));
  check("seven legs");
  for (const name of ["one", "two", "eight", "each round", "seven legs"]) rmSync(at(name), { recursive: true });
}

/** On a pool of another size in each leg. */
async function inLegs(out: string, scenario: () => ReturnType<typeof scenarioOf>, until: typeof afterNextRound) {
  let { state } = await run(scenario(), { out, reproduce, pool: one.poolFor, ...until() });
  for (legs++; state === "interrupted"; legs++) {
    const { poolFor: pool } = pools[legs % pools.length]!;
    ({ state } = await resume(await loadRun(out), { reproduce, pool, ...until() }));
  }
}

/** Ends a run after the event that closes a round. */
function afterNextRound(): Pick<Parameters<typeof run>[1] & object, "signal" | "listen"> {
  const stop = new AbortController();
  return { signal: stop.signal, listen: ({ type }) => (type === "round" ? stop.abort() : undefined) };
}
