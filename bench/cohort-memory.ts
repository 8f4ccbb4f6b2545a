/** What the server holds while it folds a round: one round of the embedded model, with cohorts of several sizes. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { formatBytes } from "../src/base/units.ts";
import { defineScenario, fedavg, iid, instructions, megabits, minutes, run, type Strategy } from "../src/index.ts";
import { formatTable } from "../src/report/table.ts";

/** How often a round is looked at; garbage is collected first, which takes its time. */
const looks = 20;

export async function measureCohorts(cohorts: readonly number[]): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const live = (): number => {
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const rows: string[][] = [];
  for (const cohort of cohorts) {
    const plain = fedavg();
    let [before, most, folded, bytes] = [0, 0, 0, 0];
    const strategy: Strategy = {
      ...plain,
      spec: { type: "watched" },
      begin(server, setting) {
        before = live();
        return plain.begin(server, setting);
      },
      fold(sum, update, setting, at) {
        plain.fold(sum, update, setting, at);
        bytes = update.values.byteLength;
        if (++folded % Math.ceil(cohort / looks) === 0) most = Math.max(most, live());
      },
    };
    const begun = performance.now();
    await run(scenario(cohort, strategy), { out: null });
    rows.push([
      String(cohort),
      formatBytes(bytes),
      formatBytes(folded * bytes),
      formatBytes(most - before),
      ((performance.now() - begun) / 1_000).toFixed(0),
    ]);
  }
  const titles = ["cohort", "update", "all of them", "held while folding, at most", "seconds"];
  process.stdout.write(`server memory, one round of the embedded model\n\n${formatTable(titles, rows)}\n`);
}

const scenario = (cohort: number, strategy: Strategy) =>
  defineScenario({
    name: "cohort",
    seed: 1,
    data: { source: instructions({ examples: 2 * cohort + 64 }), partition: iid(), maxTokens: 32 },
    fleet: [{ name: "device", clients: cohort, budget: 1, tokensPerSecond: 1_000, uplink: megabits(20) }],
    rounds: { count: 1, cohort, deadline: minutes(60) },
    training: { batchSize: 1, maxSteps: 1, learningRate: 1e-3 },
    evaluateAt: [1],
    evaluationExamples: 8,
    strategy,
  });
