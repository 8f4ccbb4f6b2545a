/**
 * Do dropped and discarded clients cost no training?
 *
 *   npm run bench -- rounds
 *
 * The same fleet and cohort with more and more dropouts, one worker. The reference of each row is its own run without
 * dropouts: if only counted updates are trained, CPU time per counted update stays the same and CPU time per round falls
 * with them. The first round, which compiles the steps, does not count.
 */

import { median } from "simple-statistics";
import { defineScenario, iid, instructions, megabits, minutes, run } from "../src/index.ts";
import { formatTable } from "../src/report/table.ts";

const rounds = 6;

const scenario = (dropout: number) =>
  defineScenario({
    name: "rounds",
    seed: 1,
    data: { source: instructions({ examples: 3_000 }), partition: iid(), maxTokens: 48 },
    fleet: [{ name: "device", clients: 32, budget: 4, tokensPerSecond: 1_000, uplink: megabits(20), dropout }],
    rounds: { count: rounds, cohort: 12, deadline: minutes(30), minUpdates: 1 },
    training: { batchSize: 16, learningRate: 1e-3 },
    evaluateEvery: rounds,
    evaluationExamples: 32,
  });

export default async function bench(): Promise<void> {
  const rows: string[][] = [];
  let reference = Number.NaN;
  for (const dropout of [0, 0.25, 0.5, 0.75]) {
    const perUpdate: number[] = [];
    const perRound: number[] = [];
    let counted = 0;
    let last = process.cpuUsage();
    const result = await run(scenario(dropout), {
      workers: 1,
      out: null,
      listen(progress) {
        if (progress.type !== "round") return;
        const { user, system } = process.cpuUsage(last);
        last = process.cpuUsage();
        const { round, counted: updates } = progress.row;
        // The last round is evaluated, too.
        if (round <= 1 || round === rounds || updates === 0) return;
        counted += updates;
        perRound.push((user + system) / 1_000);
        perUpdate.push((user + system) / 1_000 / updates);
      },
    });
    const ms = median(perUpdate);
    if (dropout === 0) reference = ms;
    rows.push([
      `${100 * dropout} %`,
      (counted / perRound.length).toFixed(1),
      median(perRound).toFixed(0),
      ms.toFixed(0),
      (ms / reference).toFixed(2),
      String(result.diagnostics.tasks ?? ""),
    ]);
  }
  const columns = ["dropout", "counted/round", "CPU ms/round", "CPU ms/update", "of no dropout", "tasks"];
  process.stdout.write(`${formatTable(columns, rows)}\n`);
}
