/**
 * What strangers and bad disks leave, by the hundred, and how it ends.
 *
 *   npm run hostile                           260 checkpoints, 26 tokenizers, 600 bits, 180 cuts
 *   npm run hostile -- --times 10 --seed 7    ten times as many, others
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { run } from "../src/run/run.ts";
import { damagedCheckpoint } from "../test/support/hostile/checkpoints.ts";
import { type Damage, damagedFolder, free } from "../test/support/hostile/run-folders.ts";
import { hostileTokenizers, useTokenizer } from "../test/support/hostile/tokenizers.ts";
import { Workshop } from "../test/support/swarm/judge.ts";
import { stormy } from "../test/support/weather.ts";

const { values } = parseArgs({
  options: { times: { type: "string", default: "1" }, seed: { type: "string", default: "1" } },
});
const [times, seed] = [Number(values.times), Number(values.seed)];
const folder = mkdtempSync(join(tmpdir(), "flame-hostile-"));
const tally = new Map<string, number>();
const add = (what: string): void => void tally.set(what, (tally.get(what) ?? 0) + 1);

function tell(campaign: string): void {
  const parts = [...tally].sort().map(([what, count]) => `${count} ${what}`);
  console.log(`${campaign}: ${parts.join(", ")}`);
  tally.clear();
}

const workshop = new Workshop();
for (let number = 0; number < 260 * times; number++) {
  const { what, ending, message } = await damagedCheckpoint(number, seed, workshop);
  add(ending);
  if (ending === "failed" || ending === "another run") console.log(`  case ${number}, ${what}: ${ending} ${message}`);
}
workshop.close();
tell("checkpoints with a right digest and a wrong value");

for (const name of Object.keys(hostileTokenizers))
  add((await useTokenizer(name, folder, 500)) === null ? "used" : "refused");
tell("tokenizers");

const finished = join(folder, "finished");
await run(stormy(3), { out: finished });
const campaigns: readonly (readonly [Damage, number])[] = [
  ["a bit", 600],
  ["a cut", 180],
];
for (const [damage, count] of campaigns) {
  for (let number = 0; number < count * times; number++) {
    const { file, what, isSeen } = await damagedFolder(finished, damage, number, seed);
    const isFree = free.test(file);
    add(isSeen ? "seen" : isFree ? `not seen in ${file.replace(/\/.*/, "/")}` : "NOT SEEN");
    if (!isSeen && !isFree) console.log(`  case ${number}, ${file}: ${what}`);
  }
  tell(`finished runs with ${damage} on disk`);
}
rmSync(folder, { recursive: true });
