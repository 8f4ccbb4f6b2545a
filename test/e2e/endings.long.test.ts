/** However a process ends, it says so, and no run goes on saying that it runs. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { runFlame } from "../support/command-line.ts";
import { programs } from "../support/command-process.ts";
import { folderOfFile } from "../support/folders.ts";
import { needs } from "../support/needs.ts";
import { assertSameRun } from "../support/run-folders.ts";
import { trainedRun } from "../support/trained-run.ts";

const skip = !existsSync("/dev/full") && needs.linux;
const folder = folderOfFile();
const file = join(folder, "scenario.ts");
let straight = "";
/** Of a scenario that trains, and what it left. */
let trained = "";
let finished = "";

const code = `import { defineScenario, every, hook, minutes, seconds } from "flame-sim";
const how = process.env.FLAME_TEST_HOW ?? "";
const ways: Record<string, () => unknown> = {
  exit: () => process.exit(0),
  "later exit": () => setImmediate(() => process.exit(0)),
  folder: () => process.chdir("/"),
  rejection: () => void Promise.reject(new Error("nobody waits for this")),
  timer: () => setImmediate(() => { throw new TypeError("nobody catches this"); }),
};
export default defineScenario({
  name: "endings",
  timingOnly: true,
  model: { vocabulary: 264, layers: 2, width: 16, heads: 2, experts: 4, expertWidth: 8, topK: 4 },
  data: { sizes: { examplesPerClient: 40, tokensPerExample: 60 } },
  fleet: [{ name: "phone", clients: 9, budget: 1, tokensPerSecond: 300, uplink: 60_000 }],
  rounds: { count: 400, cohort: 4, deadline: minutes(1) },
  world: { timeline: [every(seconds(3), hook((sim) => {
    if (sim.now === 90_000) ways[how]?.();
    if (sim.now >= 90_000 && how !== "") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
  }))] },
});
`;

before(async () => {
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  writeFileSync(file, code);
  straight = join(folder, "straight");
  assert.equal((await runFlame("run", file, "--out", straight)).code, 0);
  ({ file: trained, out: finished } = await trainedRun());
});

/** Runs the command in a shell that has prepared it: `"$@"` is the command. */
function shell(script: string, words: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const child = spawn("bash", ["-c", script, "bash", process.execPath, ...programs.built, ...words], {
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk.toString();
  });
  return new Promise<{ code: number | null; out: string; err: string }>((resolve) =>
    child.on("close", (exit) => resolve({ code: exit, out, err })),
  );
}

const stateOf = (out: string): string =>
  (JSON.parse(readFileSync(join(out, "run.json"), "utf8")) as { state: string }).state;

let runs = 0;
const newRun = () => join(folder, `run-${runs++}`);

for (const [how, message] of [
  ["exit", /world\.timeline\[0\]\.effect\.run calls process\.exit\. Expected an error that it throws/],
  ["folder", /world\.timeline\[0\]\.effect\.run calls process\.chdir\. Expected whole paths/],
  ["later exit", /^error something ended the process, with exit code 0, before the command was done$/m],
  ["rejection", /^error nobody waits for this\n/m],
  ["timer", /^error nobody catches this\n/m],
] as const) {
  test(`a hook that ends the process by its ${how} ends in an error with a name`, { skip }, async () => {
    const out = newRun();
    const { code: exit, err } = await shell('exec "$@"', ["run", file, "--out", out], { FLAME_TEST_HOW: how });
    assert.ok(exit === 1 || exit === 2, `${exit} ${err}`);
    assert.match(err, message);
    assert.equal(stateOf(out), "failed");
    assert.ok(!existsSync(join(out, "lock")));
    assert.equal((await runFlame("resume", out)).code, 0);
    assertSameRun(out, straight, `after the ${how}`);
  });
}

test("a command that waits for what never comes ends in an error with a name", { skip }, async () => {
  const own = join(folder, "never.ts");
  writeFileSync(
    own,
    `import { defineScenario, fedavg } from "flame-sim";
const plain = fedavg();
const never = { ...plain, name: "never", spec: { type: "never" }, finish: () => new Promise(() => {}) };
export default defineScenario({ ...JSON.parse(${JSON.stringify(readFileSync(trained, "utf8"))}), strategy: never, expect: [] });
`,
  );
  const out = newRun();
  const { code: exit, err } = await shell('exec "$@"', ["run", own, "--out", out, "--workers", "1"]);
  assert.equal(exit, 1, err);
  assert.match(err, /^error nothing is left to do, and the command is not done: what it waits for never comes$/m);
  assert.equal(stateOf(out), "failed");
});

for (const [what, redirection, exit] of [
  ["is a full disk", ">/dev/full", 1],
  ["and errors are full disks", ">/dev/full 2>/dev/full", 1],
  ["is closed", ">&-", 0],
  ["and errors are closed", ">&- 2>&-", 0],
  ["is read no further than its first line", "> >(head -1)", 0],
] as const) {
  test(`a run that trains goes on to its folder when its output ${what}`, { skip }, async () => {
    const out = newRun();
    const { code: found, err } = await shell(`"$@" ${redirection}`, ["run", trained, "--out", out, "--workers", "1"]);
    assert.equal(found, exit, err);
    assert.equal(err, exit === 1 && !redirection.includes("2>") ? full : "");
    assert.equal(stateOf(out), "finished");
  });
}
const full = "what is printed is lost from here on, and the work goes on: ENOSPC: no space left on device, write\n";

test("a command that only prints says that nothing of it arrived", { skip }, async () => {
  for (const words of [["methods"], ["--help"], ["inspect"]]) {
    const { code: exit, err } = await shell('"$@" >/dev/full', words);
    assert.deepEqual([exit, err], [1, full]);
  }
});

test("too few files that may be open are one line, before anything is begun", { skip }, async () => {
  for (const most of [20, 64, 128, 256]) {
    const out = newRun();
    const { code: exit, err } = await shell(`ulimit -n ${most}; exec "$@"`, ["run", trained, "--out", out]);
    assert.equal(exit, 1);
    assert.match(
      err,
      /^error this process may open \d+ more files, expected at least 256; ulimit -n 1024 raises the limit\n$/,
    );
    assert.ok(!existsSync(out));
  }
});

test("too few addresses are one line, before anything is trained", { skip }, async () => {
  const out = newRun();
  const few = await shell('ulimit -v 1300000; exec "$@"', ["run", trained, "--out", out]);
  assert.equal(few.code, 1);
  assert.match(few.err, /^error this process may use .* more of addresses, expected at least .*\n$/);
  assert.ok(!existsSync(out));
  const workers = await shell('ulimit -v 2400000; exec "$@"', ["run", trained, "--out", out, "--workers", "4"]);
  assert.equal(workers.code, 1);
  assert.match(
    workers.err,
    /^error 4 workers need 3 GB of addresses, and this process may use .* more; take fewer with/,
  );
  assert.equal(stateOf(out), "failed");
});

test("a folder for temporary files that is missing or read-only is one line that names TMPDIR", { skip }, async () => {
  for (const place of [join(folder, "nowhere"), "/proc"]) {
    const { code: exit, err } = await shell('exec "$@"', ["verify", "--rerun", finished], { TMPDIR: place });
    assert.equal(exit, 1);
    assert.match(err, new RegExp(`^error cannot make a folder in ${place}, which TMPDIR names: .*\n$`));
  }
});
