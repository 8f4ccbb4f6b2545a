/**
 * Hostile inputs by the hundred thousand, for everything that somebody else may have written.
 *
 *   npm run fuzz                                    100,000 cases for each target
 *   npm run fuzz -- --cases 1000000 --target envelope
 *   npm run fuzz -- --target envelope --from 71 --cases 1     one case again
 *
 * Data files and safetensors are fuzzed by their own property tests, which are run here with as many cases.
 */
import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";
import { type FuzzTarget, fuzz } from "../test/support/fuzz.ts";
import { fuzzTargets } from "../test/support/fuzz-targets.ts";

const { values } = parseArgs({
  options: {
    cases: { type: "string", default: "100000" },
    from: { type: "string", default: "0" },
    seed: { type: "string", default: "1" },
    target: { type: "string" },
  },
});
const cases = Number(values.cases);
const from = Number(values.from);
/** Cases between two looks at the clock; a failure costs the rest of such a stretch. */
const stretch = 500;
const tellEvery = 30_000;
const mostFailures = 5;
const begun = performance.now();
const { targets, close } = await fuzzTargets();
const chosen = targets.filter(({ name }) => values.target === undefined || values.target === name);
if (chosen.length === 0) throw new Error(`--target ${values.target}: expected ${targets.map(({ name }) => name)}`);
let failures = 0;
for (const target of chosen) failures += await fuzzOne(target);
close();

/** @returns failures */
async function fuzzOne(target: FuzzTarget): Promise<number> {
  const started = performance.now();
  const sum = { accepted: 0, refused: 0 };
  let told = started;
  let failed = 0;
  for (let at = from; at < from + cases && failed < mostFailures; at += stretch) {
    try {
      const { accepted, refused } = await fuzz(target, at, Math.min(at + stretch, from + cases), Number(values.seed));
      sum.accepted += accepted;
      sum.refused += refused;
    } catch (error) {
      failed++;
      console.log(`${target.name} FAILS\n${(error as Error).message}`);
    }
    if (performance.now() - told < tellEvery) continue;
    told = performance.now();
    const done = Math.min(at + stretch - from, cases);
    const left = ((told - started) / done) * (cases - done);
    console.log(`${target.name}: ${done} of ${cases}, ${(left / 60_000).toFixed(0)} min left of this target`);
  }
  const rate = (1_000 * (sum.accepted + sum.refused)) / (performance.now() - started);
  const verdict = failed === 0 ? "" : `${failed} FAILED, `;
  console.log(`${target.name}: ${verdict}${sum.accepted} accepted, ${sum.refused} refused, ${rate.toFixed(0)} cases/s`);
  return failed;
}

if (values.target === undefined) {
  // The former splits its number over several tests, the latter uses all of it in the first.
  for (const file of ["data-hostile-files", "model-safetensors"]) {
    const environment = { ...process.env, FLAME_FUZZ_RUNS: String(cases), FUZZ_CASES: String(cases) };
    const words = ["--import", "tsx", "--test", `test/property/${file}.test.ts`];
    const { status, stdout } = spawnSync(process.execPath, words, { env: environment, encoding: "utf8" });
    console.log(`${file}: ${status === 0 ? `${cases} cases in each test, all is well` : `FAILS\n${stdout}`}`);
    if (status !== 0) failures++;
  }
}
console.log(`${failures} failures in ${((performance.now() - begun) / 60_000).toFixed(1)} min`);
process.exitCode = failures === 0 ? 0 : 1;
