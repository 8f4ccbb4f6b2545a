/** Held-out images that a trained network gets wrong, as pictures for the report of a run. */
import { evaluationBatches } from "../../data/batches.ts";
import type { ImageData } from "../../data/images/labelled.ts";
import { type PictureSheet, pictureOf } from "../pictures.ts";

/** As many as a page shows at once. */
const shown = 32;
const rows = 64;

interface Mistake {
  readonly example: number;
  readonly label: number;
  readonly predicted: number;
  /** Softmax of what was predicted. */
  readonly share: number;
}

/**
 * @param examples held-out ones
 * @param logitsOf of a batch's images, `[images, classes]`
 */
export async function mistakesOf(
  data: ImageData,
  examples: Uint32Array,
  logitsOf: (batch: ReturnType<typeof evaluationBatches>[number]) => Promise<Float32Array>,
): Promise<PictureSheet> {
  const { image, labels, categoryNames, columns } = data;
  const { width, values, scale } = columns.x!;
  const classes = categoryNames.length;
  const ordered = Uint32Array.from(examples).sort();
  const mistakes: Mistake[] = [];
  for (const [at, batch] of evaluationBatches(data, ordered, { batchSize: rows, length: 1 }).entries()) {
    const logits = await logitsOf(batch);
    for (let row = 0; row < batch.targets.length; row++) {
      const own = logits.subarray(row * classes, (row + 1) * classes);
      const predicted = own.indexOf(own.reduce((most, value) => Math.max(most, value)));
      const example = ordered[at * rows + row]!;
      if (predicted === labels[example]) continue;
      const share = 1 / own.reduce((sum, value) => sum + Math.exp(value - own[predicted]!), 0);
      mistakes.push({ example, label: labels[example]!, predicted, share });
    }
  }
  mistakes.sort((a, b) => b.share - a.share || a.example - b.example);
  const strips = mistakes.slice(0, shown).map(({ example, label, predicted, share }) => ({
    caption: `${categoryNames[label]}, taken for ${categoryNames[predicted]} (${Math.round(100 * share)} %)`,
    pictures: [pictureOf(values.subarray(example * width, (example + 1) * width), image, scale)],
  }));
  const few = mistakes.length > shown ? `, of which these are the ${shown} it was surest of` : "";
  return {
    title: "What it mistakes",
    caption: `After the last round the network got ${mistakes.length} of ${examples.length} held-out images wrong${few}.`,
    strips,
  };
}
