/**
 * What does a client-round of a small model cost?
 *
 *   npm run bench -- vision [--merge <clients that share a call>] [--peer <python with pfl-research on its PYTHONPATH>]
 *
 * FedAvg on the digits, MLP 64-256-256-10, SGD, batch 16, two workers, beside the same in pfl-research where that is given
 * (`bench/peers/README.md`), one after the other, setting by setting. `ms` is the time of the rounds divided by counted
 * updates, from the end of round 0, in which the untrained model is evaluated and our workers start: the peer has none to
 * start. `process` is from start to end of `flame run`, and of the peer.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { packageRoot } from "../src/base/places.ts";
import { run as runScenario } from "../src/index.ts";
import { formatTable } from "../src/report/table.ts";
import { type VisionSetting, visionScenario } from "./vision-scenario.ts";

const settings: readonly VisionSetting[] = [
  { clients: 100, cohort: 20, rounds: 50, epochs: 1 },
  { clients: 20, cohort: 10, rounds: 50, epochs: 5 },
  { clients: 100, cohort: 20, rounds: 200, epochs: 5 },
];

export default async function run(options: string[]): Promise<void> {
  const { values } = parseArgs({
    args: options,
    options: { peer: { type: "string" }, merge: { type: "string", default: "1" } },
  });
  const rows: string[][] = [];
  for (const setting of settings) {
    const own = await ownCost(setting, Number(values.merge));
    const process = ownProcess(setting, values.merge);
    const row = [
      Object.values(setting).join(" "),
      own.ms.toFixed(2),
      `${process.toFixed(1)} s`,
      own.accuracy.toFixed(3),
    ];
    if (values.peer === undefined) rows.push(row);
    else {
      const peer = peerCost(values.peer, setting);
      const ratios = [(peer.ms / own.ms).toFixed(1), (peer.process / process).toFixed(1)];
      rows.push([...row, peer.ms.toFixed(2), `${peer.process.toFixed(1)} s`, peer.accuracy.toFixed(3), ...ratios]);
    }
  }
  const columns = ["N C R E", "ms", "process", "accuracy"];
  const ofPeer = ["peer ms", "peer process", "peer accuracy", "ms ratio", "process ratio"];
  console.log(formatTable(values.peer === undefined ? columns : [...columns, ...ofPeer], rows));
}

async function ownCost(setting: VisionSetting, clients: number): Promise<{ ms: number; accuracy: number }> {
  let begun = 0;
  const result = await runScenario(visionScenario(setting), {
    workers: 2,
    merge: { clients },
    out: null,
    listen: ({ type }) => {
      if (type === "round" && begun === 0) begun = performance.now();
    },
  });
  const counted = result.rows.reduce((sum, row) => sum + row.counted, 0);
  return { ms: (performance.now() - begun) / counted, accuracy: result.rows.at(-1)!.evaluations[0]!.accuracy };
}

/** Seconds of a process of its own. */
function ownProcess(setting: VisionSetting, merge: string): number {
  const folder = mkdtempSync(join(tmpdir(), "flame-bench-"));
  try {
    const env = { VISION_BENCH: Object.values(setting).join(" ") };
    const words = ["bin/flame.mjs", "run", "bench/vision-scenario.ts", "--workers", "2", "--merge", merge];
    return timed(process.execPath, [...words, "--out", join(folder, "run")], env).seconds;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function peerCost(python: string, setting: VisionSetting): { ms: number; accuracy: number; process: number } {
  const { seconds, text } = timed(python, ["bench/peers/pfl_digits.py", ...Object.values(setting).map(String)]);
  const [, ms, accuracy] = /([\d.]+) ms per client-round, accuracy ([\d.]+)/.exec(text) ?? [];
  if (ms === undefined) throw new Error(`${python} did not print what a client-round took: ${text.slice(-500)}`);
  return { ms: Number(ms), accuracy: Number(accuracy), process: seconds };
}

function timed(command: string, words: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const begun = performance.now();
  const options = { cwd: packageRoot(), encoding: "utf8", env: { ...process.env, ...env } } as const;
  const { status, stdout, stderr } = spawnSync(command, words, options);
  if (status !== 0) throw new Error(`${command} ${words.join(" ")} ended with ${status}: ${stderr.slice(-1_000)}`);
  return { seconds: (performance.now() - begun) / 1_000, text: stdout };
}
