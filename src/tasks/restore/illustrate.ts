/** What the restorer makes of a few held-out pictures, for the report of a run. */
import { evaluationBatches } from "../../data/batches.ts";
import type { RowData } from "../../data/examples.ts";
import { type PictureSheet, pictureOf } from "../pictures.ts";
import type { Variant } from "../task.ts";
import type { TaskEngine } from "../task-engine.ts";
import { decibels } from "./decibels.ts";

/** Of each level. */
const shown = 3;

/** @param examples held-out ones */
export async function illustrated(
  data: RowData,
  examples: Uint32Array,
  engine: TaskEngine,
  model: { readonly parameters: Float32Array; readonly variant: Variant },
): Promise<PictureSheet> {
  const { category, categoryNames } = data;
  const chosen = categoryNames.flatMap((_, level) => [
    ...examples.filter((e) => category[e] === level).slice(0, shown),
  ]);
  const order = Uint32Array.from(chosen).sort();
  const [batch] = evaluationBatches(data, order, { batchSize: chosen.length, length: 1 });
  const { restored } = await engine.outputs({ batch: batch!, personal: new Float32Array(0), ...model });
  const { low, high } = batch!.inputs as Readonly<Record<string, Float32Array>>;
  const strips = chosen.map((e) => {
    const row = order.indexOf(e);
    const pixels = (values: Float32Array) =>
      values.subarray((row * values.length) / order.length, ((row + 1) * values.length) / order.length);
    const seen = [low!, restored as Float32Array, high!].map(pixels);
    const psnr = decibels(seen[1]!, seen[2]!).toFixed(1);
    const pictures = seen.map((values) => {
      const side = Math.sqrt(values.length);
      return pictureOf(values, { height: side, width: side, channels: 1 });
    });
    return { caption: `${categoryNames[category[e]!]}, ${psnr} dB`, pictures };
  });
  return {
    title: "What it restores",
    caption: "Held-out pictures as they came, as the final model restores them at its full budget, and as they were.",
    strips,
  };
}
