/**
 * The adapter a run starts from: A uniform in ±1/√in (Kaiming with a = √5, as PEFT does), B zero, so that ΔW = 0 and
 * the first round begins with the base model. Each expert has a stream of its own.
 */
import type { Rng } from "../base/random.ts";
import type { AdapterLayout } from "./adapter.ts";

export function initialAdapter(layout: AdapterLayout, rng: Rng): Float32Array {
  const adapter = new Float32Array(layout.size);
  for (const { name, columns } of layout.blocks) {
    if (name !== "gateUpA" && name !== "downA") continue;
    const bound = 1 / Math.sqrt(columns);
    for (let expert = 0; expert < layout.layers * layout.experts; expert++) {
      const draws = rng.at(`adapter ${name}`).at(expert);
      const { start, end } = layout.matrix(name, expert);
      for (let i = start; i < end; i++) adapter[i] = bound * (2 * draws.uniform() - 1);
    }
  }
  return adapter;
}
