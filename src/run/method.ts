/** The strategy of a run with what it sees of it, its programs as content that workers read, and where it starts. */
import type { Learning, Method } from "../../actors/server-state.ts";
import type { Rng } from "../base/random.ts";
import type { Kind } from "../fl/plan.ts";
import { RescalerBook } from "../fl/rescaler.ts";
import { initialAdapter } from "../model/initial-adapter.ts";
import type { BlobStore } from "../runtime/messages/blobs.ts";
import type { BlobRef } from "../runtime/messages/refs.ts";
import { type Scenario, strategyOf } from "../scenario/define.ts";
import { parameterLayout } from "../tasks/llm/task.ts";
import type { TaskPrograms } from "../tasks/programs.ts";
import type { Setting } from "../tasks/task.ts";
import { stepOptionsOf } from "../tasks/training-step.ts";
import type { Prepared } from "./prepare.ts";

/** Programs of the strategy, held in the blob store from when they are first asked for to the end of the run. */
export class MethodPrograms {
  readonly #blobs: BlobStore;
  readonly #held = new Set<string>();

  constructor(blobs: BlobStore) {
    this.#blobs = blobs;
  }

  hold(text: string): BlobRef {
    const ref = this.#blobs.put(Buffer.from(text));
    if (!this.#held.has(ref.digest)) this.#blobs.retain(ref);
    this.#held.add(ref.digest);
    return { ...ref, bytes: 0 };
  }

  snapshot(): readonly string[] {
    return [...this.#held];
  }

  /** The blob store is restored on its own, with its holders. */
  restore(held: readonly string[]): void {
    this.#held.clear();
    for (const digest of held) this.#held.add(digest);
  }
}

function settingOf({ data }: Scenario, { layout, fleet }: Prepared, rng: Rng): Setting {
  return {
    layout: parameterLayout(layout),
    clients: fleet.size,
    rate: data.training.learningRate,
    draws: (purpose) => rng.at(`strategy: ${purpose}`).at(0),
    examples: (client) => fleet.examples[client]!,
    variant: (budget) => ({ topK: budget }),
  };
}

/**
 * @param most how many clients of a budget share a call at most; their programs are made for every power of two
 * @param programs null in runs without training
 */
export function methodOf(
  scenario: Scenario,
  prepared: Prepared,
  {
    rng,
    programs,
    held,
    most,
  }: {
    readonly rng: Rng;
    readonly programs: TaskPrograms | null;
    readonly held: MethodPrograms;
    readonly most: (topK: number) => number;
  },
): Method {
  const strategy = strategyOf(scenario);
  const setting = settingOf(scenario, prepared, rng);
  const made = new Map<string, ReturnType<Method["programs"]>>();
  const make = (kind: Kind): ReturnType<Method["programs"]> => {
    if (programs === null || prepared.training === null) return { step: {} };
    const { batchSize: rows, length, optimizer } = prepared.training.setup;
    const options = stepOptionsOf(optimizer);
    const steps = strategy.steps?.(kind, setting) ?? {};
    const key = JSON.stringify(kind);
    const step: Record<number, BlobRef> = {};
    const limit = steps.merges === false ? 1 : most(kind.variant.topK as number);
    for (let clients = 1; clients <= limit; clients *= 2) {
      const shape = { clients, rows, length };
      step[clients] = held.hold(programs.step(kind.variant, shape, options, key, steps).text());
    }
    const probe = (when: "before" | "after") =>
      programs.probe(kind.variant, { clients: 1, rows, length }, key, when, steps);
    const [before, after] = [probe("before"), probe("after")];
    return {
      step,
      ...(before && { before: held.hold(before.text()) }),
      ...(after && { after: held.hold(after.text()) }),
    };
  };
  return {
    strategy,
    setting,
    programs(kind) {
      const key = JSON.stringify(kind);
      const known = made.get(key) ?? make(kind);
      made.set(key, known);
      return known;
    },
  };
}

/** Null in runs without training. */
export function learningOf(
  scenario: Scenario,
  minUpdates: number,
  { config, layout, budgets, training }: Prepared,
  rng: Rng,
): Learning | null {
  if (training === null) return null;
  const { rescaler } = scenario.data;
  return {
    layout,
    rescalers: new RescalerBook({
      layers: config.layers,
      topK: config.topK,
      init: rescaler.init,
      scope: rescaler.scope,
    }),
    budgets,
    initial: initialAdapter(layout, rng),
    minUpdates,
  };
}
