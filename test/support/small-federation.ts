/** Rounds of a strategy on the small transformer, trained for real: every client has token sequences of its own. */
import { clientId, participationId, round as roundOf } from "../../src/base/ids.ts";
import { type Draws, Rng } from "../../src/base/random.ts";
import type { Batch } from "../../src/data/batches.ts";
import { type ClientMemory, emptyMemory, usual } from "../../src/fl/plan.ts";
import type { ServerState, Strategy } from "../../src/fl/strategy.ts";
import type { Update } from "../../src/fl/update.ts";
import type { BaseWeights } from "../../src/model/base-weights.ts";
import { llmTask } from "../../src/tasks/llm/task.ts";
import { TaskPrograms } from "../../src/tasks/programs.ts";
import type { Setting, Task } from "../../src/tasks/task.ts";
import { stepOptionsOf } from "../../src/tasks/training-step.ts";
import { OnnxExecutor } from "../../src/tensor/executors/onnx.ts";
import { LlmEngine } from "./llm-engine.ts";
import { aggregate, serverOf, settingOf, updateOf } from "./quadratic.ts";
import { batchOf, smallModel } from "./small-model.ts";

interface SmallClient {
  readonly budget: number;
  readonly batches: readonly Batch[];
}

const lora = { rank: 2, alpha: 4 };
const optimizer = {
  ...{ learningRate: 2e-2, personalLearningRate: 0, beta1: 0.9, beta2: 0.99, epsilon: 1e-8 },
  ...{ weightDecay: 0, clipNorm: null },
};
const length = 8;

/**
 * Sequences that go through `tokens` one after the other, from the last to the first again, and begin anywhere.
 *
 * @param noise probability that a token is any of them instead
 */
export function cycles(tokens: readonly number[], draws: Draws, { batches = 1, rows = 4, noise = 0 } = {}): Batch[] {
  const any = () => draws.below(tokens.length);
  const row = () => {
    const places = [any()];
    while (places.length < length) places.push(draws.bernoulli(noise) ? any() : (places.at(-1)! + 1) % tokens.length);
    return places.map((at) => tokens[at]!);
  };
  return Array.from({ length: batches }, () => batchOf(Array.from({ length: rows }, row), length));
}

export class SmallFederation {
  readonly task: Task;
  readonly #strategy: Strategy;
  readonly #engine: LlmEngine;
  readonly #programs: TaskPrograms;
  readonly #personal: Float32Array;

  constructor(weights: BaseWeights, strategy: Strategy) {
    const { shape = {} } = strategy;
    this.#strategy = strategy;
    this.task = llmTask({ config: smallModel, lora, form: "merged", shape });
    this.#engine = new LlmEngine(new OnnxExecutor(), weights, lora, { form: "merged", shape });
    this.#programs = new TaskPrograms(this.task);
    this.#personal = new Float32Array(this.task.personal).fill(1);
  }

  initial(seed: number): Float32Array {
    return this.task.initial(new Rng(seed), 0);
  }

  /** Everybody in every round. */
  async play(clients: readonly SmallClient[], rounds: number, start: Float32Array): Promise<ServerState> {
    const setting = this.#setting(clients.length);
    let server = serverOf(this.#strategy, start, setting);
    const memories = clients.map(() => emptyMemory);
    for (let round = 1; round <= rounds; round++) {
      const updates: Update[] = [];
      for (const [at, client] of clients.entries()) {
        const { update, memory } = await this.#train(client, { at, round, memory: memories[at]!, server, setting });
        updates.push(update);
        memories[at] = memory;
      }
      server = await aggregate(this.#strategy, server, updates, setting, round);
    }
    return server;
  }

  /** Nats per token of what a budget runs. */
  async lossOf(budget: number, server: ServerState, batches: readonly Batch[]): Promise<number> {
    const setting = this.#setting(1);
    const { models } = this.#strategy.deploy?.(budget, server, setting) ?? {
      models: [{ parameters: server.parameters, variant: setting.variant(budget) }],
    };
    const personal = this.#personal;
    const found = await this.#engine.evaluate({
      models: models.map(({ parameters, variant }) => ({ parameters, variant, personal })),
      batches,
    });
    return found.loss / found.targets;
  }

  dispose(): void {
    this.#engine.dispose();
  }

  #setting(clients: number): Setting {
    const { layout, budget, abilities } = this.task;
    const budgets = Array.from({ length: budget.full }, (_, k) => k + 1);
    const mixture = { topK: smallModel.topK, expert: 1, rest: 1 };
    return settingOf(layout, { abilities, budgets, clients, variant: budget.variant, mixture });
  }

  async #train({ budget, batches }: SmallClient, { at, round, memory, server, setting }: Part) {
    const strategy = this.#strategy;
    const view = {
      ...{ client: clientId(at), participation: participationId(at), budget, memory, examples: 1 },
      round: roundOf(round),
      draws: (purpose: string) => new Rng(3).at(purpose, round).at(at),
    };
    const plan = strategy.plan?.(view, server, setting) ?? usual(view, setting);
    const { kind, inputs = {} } = plan;
    const { variant } = kind;
    const steps = strategy.steps?.(kind, setting) ?? {};
    const shape = { clients: 1, rows: batches[0]!.rows, length };
    const key = JSON.stringify(kind);
    const fed = Object.entries(inputs).map(([name, value]) => [
      name,
      Float32Array.from(typeof value === "number" ? [value] : value),
    ]);
    const method = {
      program: () => this.#programs.step(variant, shape, stepOptionsOf(optimizer), key, steps),
      after: this.#programs.probes(variant, shape, key, "after", steps),
      inputs: Object.fromEntries(fed),
    };
    const base = server.parameters;
    const job = { parameters: base, personal: this.#personal, variant, batches, optimizer, method };
    const [result] = await this.#engine.trainCohort([job]);
    const { parameters: values, personal, counts, units, found, losses } = result!;
    const trained = {
      ...{ values, personal, counts, units, base, steps: losses.length, firstLoss: losses[0]! },
      meanLoss: losses.reduce((sum, loss) => sum + loss / losses.length, 0),
      trained: Uint8Array.from(counts, (count) => Number(count > 0)),
    };
    const { memory: kept = memory, ...reply } = strategy.reply?.({ ...trained, found }, plan, view, setting) ?? {};
    return { update: { ...updateOf(base, values), ...trained, ...view, plan, ...reply }, memory: kept };
  }
}

interface Part {
  readonly at: number;
  readonly round: number;
  readonly memory: ClientMemory;
  readonly server: ServerState;
  readonly setting: Setting;
}
