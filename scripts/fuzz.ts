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
import { fuzz } from "../test/support/fuzz.ts";
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
const { targets, close } = await fuzzTargets();
let failures = 0;

for (const target of targets) {
  if (values.target !== undefined && values.target !== target.name) continue;
  const begun = performance.now();
  try {
    const { accepted, refused } = fuzz(target, from, from + cases, Number(values.seed));
    const rate = (1_000 * cases) / (performance.now() - begun);
    console.log(`${target.name}: ${accepted} accepted, ${refused} refused, ${rate.toFixed(0)} cases/s`);
  } catch (error) {
    failures++;
    console.log(`${target.name} FAILS\n${(error as Error).message}`);
  }
}
close();

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
process.exitCode = failures === 0 ? 0 : 1;
