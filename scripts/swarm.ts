/**
 * Random federations with everything switched on at random, judged by rules that know nothing of how they are met.
 *
 *   npm run swarm -- --minutes 10                            for so long, from seed 1 on
 *   npm run swarm -- --count 5000 --from 1 --kind timing     so many seeds; kinds are timing, toy, training, disk
 *   npm run swarm -- --count 1000 --all                      with everything switched on at once, in milder worlds
 *   npm run swarm -- --seed 17 --without churn               one case again, with its scenario on request (--print)
 *   npm run swarm -- --count 1000 --first                    to the first seed that fails, which is not kept
 *   npm run swarm -- --seed 17 --keep                        one case again, shrunk and kept where it fails
 *
 * Seeds go to one process per core; a process that dies is a failing seed, too. A failing seed is shrunk, printed with
 * the command that shows it again, and written to test/support/swarm/regressions.json, which `npm test` replays.
 */
import { type ChildProcess, fork } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  type Case,
  caseOf,
  featuresOf,
  type Kind,
  kinds,
  type Regression,
  regressionOf,
  scenarioOf,
} from "../test/support/swarm/generate.ts";
import { commandFor, judge, shrink, type Verdict, Workshop } from "../test/support/swarm/judge.ts";
import { addRare, neverTaken, type Rare } from "../test/support/swarm/rare.ts";

const regressions = new URL("../test/support/swarm/regressions.json", import.meta.url);

const { values } = parseArgs({
  options: {
    minutes: { type: "string" },
    count: { type: "string" },
    from: { type: "string", default: "1" },
    kind: { type: "string", default: "timing" },
    training: { type: "boolean", default: false },
    seed: { type: "string" },
    without: { type: "string", default: "" },
    scale: { type: "string", default: "1" },
    all: { type: "boolean", default: false },
    workers: { type: "string", default: String(availableParallelism()) },
    print: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
    first: { type: "boolean", default: false },
    child: { type: "boolean", default: false },
  },
});

const kind = (values.training ? "training" : values.kind) as Kind;
if (!kinds.includes(kind)) throw new Error(`--kind ${kind}: expected ${kinds.join(", ")}`);

if (values.child) serve();
else if (values.seed !== undefined) await showOne(Number(values.seed));
else await swarm();

/** A process of the swarm: judges the cases it is sent, one after the other. */
function serve(): void {
  const workshop = new Workshop();
  process.on("disconnect", () => {
    workshop.close();
    process.exit();
  });
  process.on("message", (swarm: Case) => void judge(swarm, workshop).then((verdict) => process.send!(verdict)));
}

async function showOne(seed: number): Promise<void> {
  const without = values.without === "" ? [] : values.without.split(",");
  const one: Case = { kind, seed, without, scale: Number(values.scale), all: values.all };
  const workshop = new Workshop();
  console.log(`${commandFor(one)}\nfeatures: ${featuresOf(one).join(" ") || "none"}`);
  if (values.print) console.log(JSON.stringify(scenarioOf(one).data, null, 2));
  const verdict = await judge(one, workshop);
  workshop.close();
  const { failure, events, virtualHours, counted } = verdict;
  const size = `${events} events in ${virtualHours.toFixed(2)} simulated hours, ${counted} updates counted`;
  console.log(failure ?? `all is well: ${size}`);
  if (failure !== null && values.keep) await record(verdict);
  process.exitCode = failure === null ? 0 : 1;
}

async function swarm(): Promise<void> {
  const until = values.minutes === undefined ? Infinity : performance.now() + 60_000 * Number(values.minutes);
  const count = values.count === undefined ? (until === Infinity ? 100 : Infinity) : Number(values.count);
  const first = Number(values.from);
  const begun = performance.now();
  const total: Total = { seeds: 0, hours: 0, events: 0, counted: 0, fruitful: 0, rare: {} };
  const failed: Verdict[] = [];
  let next = first;
  const take = (): Case | null =>
    next - first < count && performance.now() < until && !(values.first && failed.length > 0)
      ? caseOf(kind, next++, values.all)
      : null;
  let told = begun;
  const tell = (verdict: Verdict): void => {
    total.seeds++;
    total.hours += verdict.virtualHours;
    total.events += verdict.events;
    total.counted += verdict.counted;
    if (verdict.counted > 0) total.fruitful++;
    addRare(total.rare, verdict.rare);
    if (verdict.failure !== null) {
      failed.push(verdict);
      console.log(`seed ${verdict.swarm.seed} fails: ${verdict.failure.split("\n")[0]}`);
    }
    if (performance.now() - told < 30_000) return;
    told = performance.now();
    const left = Math.min(until - told, ((told - begun) / total.seeds) * (count - total.seeds)) / 60_000;
    console.log(`${summary(total, begun, failed.length)}, ${left.toFixed(0)} min left`);
  };
  await Promise.all(Array.from({ length: Number(values.workers) }, () => work(take, tell)));
  console.log(summary(total, begun, failed.length));
  for (const [place, times] of Object.entries(total.rare)) console.log(`${String(times).padStart(9)} × ${place}`);
  // A place has half of the seeds: with fewer of them one may be missing by chance.
  const never = total.seeds < 100 ? [] : neverTaken(kind, total.rare);
  for (const place of never) console.log(`    never × ${place}: the place is out of reach`);
  if (!values.first) for (const verdict of failed) await record(verdict);
  process.exitCode = failed.length + never.length === 0 ? 0 : 1;
}

interface Total {
  seeds: number;
  hours: number;
  events: number;
  counted: number;
  /** Seeds with an update that was counted. */
  fruitful: number;
  rare: Rare;
}

function summary({ seeds, hours, events, counted, fruitful }: Total, begun: number, failed: number): string {
  const seconds = (performance.now() - begun) / 1_000;
  const what = values.all ? `${kind} seeds with everything on` : `${kind} seeds`;
  return (
    `${seeds} ${what}, ${failed} failed: ${((60 * seeds) / seconds).toFixed(0)} seeds/minute, ` +
    `${(hours / seconds).toFixed(3)} simulated hours per second, ${(events / seconds).toFixed(0)} events/s, ` +
    `${counted} updates counted in ${((100 * fruitful) / seeds).toFixed(0)} % of the seeds`
  );
}

/** Keeps one process busy; one that dies is replaced, and its case is held to have failed. */
async function work(take: () => Case | null, tell: (verdict: Verdict) => void): Promise<void> {
  let child = spawn();
  for (let swarm = take(); swarm !== null; swarm = take()) {
    const verdict = await ask(child, swarm);
    tell(verdict);
    if (child.exitCode !== null || child.signalCode !== null) child = spawn();
  }
  child.disconnect();
}

function spawn(): ChildProcess {
  return fork(fileURLToPath(import.meta.url), ["--child", "--kind", kind], { execArgv: ["--import", "tsx"] });
}

function ask(child: ChildProcess, swarm: Case): Promise<Verdict> {
  return new Promise((resolve) => {
    const answer = (verdict: Verdict) => {
      child.off("exit", died);
      resolve(verdict);
    };
    const died = (code: number | null, signal: string | null) => {
      child.off("message", answer as never);
      const failure = `the process ended with ${signal ?? `code ${code}`}`;
      resolve({ swarm, failure, virtualHours: 0, events: 0, counted: 0, rare: {} });
    };
    child.once("message", answer as never);
    child.once("exit", died);
    child.send(swarm);
  });
}

/** Shrinks a failure in a process of its own, since it may kill that one, too, and keeps it for `npm test`. */
async function record({ swarm, failure }: Verdict): Promise<void> {
  let child = spawn();
  const smallest = await shrink(swarm, async (smaller) => {
    if (child.exitCode !== null || child.signalCode !== null) child = spawn();
    return (await ask(child, smaller)).failure !== null;
  });
  if (child.connected) child.disconnect();
  console.log(`\n${failure}\n  features: ${featuresOf(smallest).join(" ")}\n  ${commandFor(smallest)}`);
  const known = JSON.parse(readFileSync(regressions, "utf8")) as Regression[];
  if (known.some(({ kind, seed }) => kind === swarm.kind && seed === swarm.seed)) return;
  known.push(regressionOf(smallest, failure!.split("\n")[0]!));
  writeFileSync(regressions, `${JSON.stringify(known, null, 2)}\n`);
}
