/**
 * What do methods that know ranks cost the server at the size of the embedded model, and for how long does it not listen?
 *
 *   npm run bench -- ranks [--clients 12] [--workers 2] [--rounds 5]
 *
 * A round's updates are folded one by one, then `finish` asks the workers for its decompositions; meanwhile a timer that is
 * due every millisecond says how late it comes. FedAvg is the reference.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setImmediate } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Piscina } from "piscina";
import { median } from "simple-statistics";
import { clientId, participationId, round } from "../src/base/ids.ts";
import { Rng } from "../src/base/random.ts";
import { emptyMemory, usual } from "../src/fl/plan.ts";
import { fedavg, flexlora, flora, hetlora, loraFair } from "../src/fl/strategies/registry.ts";
import type { ServerState, Strategy } from "../src/fl/strategy.ts";
import type { Update } from "../src/fl/update.ts";
import type { AskForWork } from "../src/fl/works.ts";
import { adapterLayout } from "../src/model/adapter.ts";
import { formatTable } from "../src/report/table.ts";
import { parameterLayout } from "../src/tasks/llm/task.ts";
import { lensOf } from "../src/tasks/scope.ts";
import type { Setting } from "../src/tasks/task.ts";
import { benchConfig } from "./step.ts";

const config = { ...benchConfig, layers: 4, experts: 16, width: 64, expertWidth: 128 };
const layout = parameterLayout(adapterLayout(config, { rank: 8, alpha: 16 }));
const budgets = [1, 2, 4, 8];
const setting: Setting = {
  layout,
  abilities: ["low-rank"],
  clients: 32,
  budgets,
  rate: 1e-3,
  rateFactor: 1,
  epochs: 1,
  draws: (purpose) => new Rng(1).at(purpose).at(0),
  examples: () => 8,
  variant: (topK) => ({ topK }),
};

export default async function run(options: string[]): Promise<void> {
  const { values } = parseArgs({
    args: options,
    options: {
      clients: { type: "string", default: "12" },
      workers: { type: "string", default: "2" },
      rounds: { type: "string", default: "5" },
    },
  });
  const [clients, workers, rounds] = [values.clients, values.workers, values.rounds].map(Number) as [
    number,
    number,
    number,
  ];
  const pool = new Piscina({
    filename: new URL("./work-worker.ts", import.meta.url).href,
    execArgv: ["--import", import.meta.resolve("tsx")],
    minThreads: workers,
    maxThreads: workers,
  });
  const work: AskForWork = (name, input) => pool.run({ name, input });
  const rows = [];
  for (const strategy of [fedavg(), hetlora(), flexlora(), flora(), loraFair()]) {
    const measured = await measure(strategy, { clients, rounds, work });
    rows.push([strategy.name, ...measured.map((ms) => ms.toFixed(1))]);
  }
  await pool.close();
  process.stdout.write(
    `${formatTable(["strategy", "fold ms", "finish ms", "longest wait ms"], rows)}\n` +
      `${layout.pairs.length} matrices of 64×128, ${clients} clients of ranks 1, 2, 4, 8, ${workers} workers; medians of ${rounds} rounds\n`,
  );
}

interface Round {
  readonly clients: number;
  readonly rounds: number;
  readonly work: AskForWork;
}

async function measure(strategy: Strategy, { clients, rounds, work }: Round): Promise<number[]> {
  const draws = new Rng(1).at("values").at(0);
  const found: number[][] = [];
  let server: ServerState = {
    parameters: Float32Array.from({ length: layout.size }, () => draws.normal()),
    ...(strategy.init?.(setting) ?? { vectors: {}, notes: null }),
  };
  // The first round compiles.
  for (let at = 0; at <= rounds; at++) {
    const updates = Array.from({ length: clients }, (_, client) => updateOf(strategy, server, client, at + 1));
    const drawsOf = (purpose: string) => new Rng(2).at(purpose, at).at(0);
    const waits = monitorEventLoopDelay({ resolution: 1 });
    waits.enable();
    await setImmediate();
    const start = performance.now();
    const sum = strategy.begin(server, setting);
    for (const update of updates) {
      strategy.fold(sum, update, setting, { round: round(at + 1), draws: drawsOf });
      await setImmediate();
    }
    const folded = performance.now();
    server = await strategy.finish(sum, server, setting, { round: round(at + 1), draws: drawsOf, work });
    const finished = performance.now();
    await setImmediate();
    waits.disable();
    if (at > 0) found.push([(folded - start) / clients, finished - folded, waits.max / 1e6]);
  }
  return [0, 1, 2].map((column) => median(found.map((row) => row[column]!)));
}

/** Every expert trained, in the client's scope. */
function updateOf(strategy: Strategy, server: ServerState, client: number, at: number): Update {
  const groups = layout.groups.length;
  const draws = (purpose: string) => new Rng(3).at(purpose, at).at(client);
  const view = {
    client: clientId(client),
    budget: budgets[client % budgets.length]!,
    examples: 8,
    round: round(at),
    memory: emptyMemory,
    draws,
    participation: participationId(client),
  };
  const plan = strategy.plan?.(view, server, setting) ?? usual(view, setting);
  const base = plan.start ?? server.parameters;
  const lens = plan.scope && lensOf(layout, plan.scope);
  const noise = draws("noise");
  const trained = {
    base,
    values: base.map((value, i) => (lens?.[i] === 0 ? value : value + 0.1 * noise.normal())),
    steps: 1,
    firstLoss: 2,
    meanLoss: 1,
    trained: new Uint8Array(groups).fill(1),
    counts: new Float64Array(groups).fill(1),
    units: 100,
    personal: new Float32Array(config.layers).fill(1),
  };
  const { values = trained.values, sent = {} } = strategy.reply?.({ ...trained, found: {} }, plan, view, setting) ?? {};
  return { ...trained, ...view, participation: participationId(client), plan, values, sent, discount: 1, staleness: 0 };
}
