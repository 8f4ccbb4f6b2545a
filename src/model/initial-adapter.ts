/**
 * The adapter a run starts from: A uniform in ±1/√in (Kaiming with a = √5, as PEFT does), B zero, so that ΔW = 0 and
 * the first round begins with the base model. Each expert and each projection of attention has a stream of its own.
 */
import type { Draws, Rng } from "../base/random.ts";
import type { AdapterLayout, Range } from "./adapter.ts";
import { initialBeside } from "./beside.ts";

export function initialAdapter(layout: AdapterLayout, rng: Rng): Float32Array {
  const adapter = new Float32Array(layout.members * layout.size);
  for (let member = 0; member < layout.members; member++) {
    adapter.set(initialMember(layout, rng, member), member * layout.size);
  }
  return adapter;
}

/** Members differ by their A, or by U and R of their small experts. What chooses ranks is a small normal. */
export function initialMember(layout: AdapterLayout, rng: Rng, member: number): Float32Array {
  if (layout.pool !== null) return initialBeside(layout.pool, rng, member);
  const adapter = new Float32Array(layout.size);
  for (const { name, columns } of layout.blocks) {
    if (name !== "gateUpA" && name !== "downA") continue;
    for (let expert = 0; expert < layout.layers * layout.experts; expert++) {
      fillA(adapter, layout.matrix(name, expert), columns, rng.at(`adapter ${name}`, member).at(expert));
    }
  }
  for (const [layer, { pairs }] of layout.attention.entries()) {
    for (const { projection, inputs, a } of pairs) {
      const matrix = { start: a, end: a + layout.lora.rank * inputs };
      fillA(adapter, matrix, inputs, rng.at(`adapter attention ${projection}`, member).at(layer));
    }
  }
  for (const [layer, { start, end }] of layout.rankRouters.entries()) {
    const draws = rng.at("adapter rank router", member).at(layer);
    for (let i = start; i < end; i++) adapter[i] = 0.1 * draws.normal();
  }
  return adapter;
}

function fillA(adapter: Float32Array, { start, end }: Range, inputs: number, draws: Draws): void {
  const bound = 1 / Math.sqrt(inputs);
  for (let i = start; i < end; i++) adapter[i] = bound * (2 * draws.uniform() - 1);
}
