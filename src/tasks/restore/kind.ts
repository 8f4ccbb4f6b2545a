/** Restoration as a task of a run: the embedded restorer, ranks of its products, and grey pictures from wherever. */
import { join } from "node:path";
import { sha256 } from "../../base/digest.ts";
import { ScenarioError } from "../../base/errors.ts";
import { Rng } from "../../base/random.ts";
import { isImageSource, loadImages } from "../../data/images/source.ts";
import { namedTensors } from "../../model/formats/flat-tensors.ts";
import { writeSafetensors } from "../../model/formats/safetensors-writer.ts";
import type { OpenedTask, OpenOptions, TaskKind } from "../kind.ts";
import { rankTensors } from "../ranks.ts";
import { degradePictures, pictureProblem } from "./data.ts";
import { scores } from "./degrade.ts";
import type { RestoreFields } from "./fields.ts";
import { illustrated } from "./illustrate.ts";
import { embeddedRestorer, products } from "./restorer.ts";
import { type RestoreShape, restoreTask } from "./task.ts";

export const restore: TaskKind<RestoreFields, RestoreShape> = { open, make: (shape) => restoreTask(shape) };

async function open(fields: RestoreFields, { name, seed, data: { source } }: OpenOptions): Promise<OpenedTask> {
  if (!isImageSource(source)) {
    const what = "the task restore learns pictures; expected pictures({ examples }), digits(…) or images(path)";
    throw new ScenarioError(`scenario "${name}": data.source is ${source.type}, but ${what}`);
  }
  const images = loadImages(source, { seed });
  const problem = pictureProblem(images);
  if (problem !== null) throw new ScenarioError(`scenario "${name}": data.source has pictures that ${problem}`);
  const { shared, routed, zero, topK, scale, levels } = fields;
  const base = embeddedRestorer();
  const shape: RestoreShape = { ranks: { shared, routed, zero }, topK, scale, side: images.image.width / 2, base };
  const task = restoreTask(shape);
  const { layout } = task;
  const data = () => degradePictures(images, levels, new Rng(seed));
  const digest = sha256(JSON.stringify({ ...shape, base: [...base] }));
  return {
    type: "restore",
    task,
    layout,
    members: 1,
    layers: routed === 0 ? 0 : products.length,
    experts: routed,
    bytes: { download: 4 * layout.size, upload: 4 * layout.size },
    digest,
    save(folder, parameters) {
      const tensors = namedTensors(rankTensors(products, shape.ranks, scores), parameters);
      writeSafetensors(join(folder, "ranks.safetensors"), tensors);
    },
    pictures: async (engine, parameters, examples) => [
      await illustrated(data(), examples, engine, { parameters, variant: task.budget.variant(topK) }),
    ],
    initial: (rng) => task.initial(rng, 0),
    problems: [],
    budgetProblem: (budget) => (budget > topK ? `task.topK is ${topK}` : null),
    load: async () => ({
      data: data(),
      length: 1,
      notes: images.notes,
      read: { data: images.digest, tokenizer: null, template: null },
    }),
    spec: async () => ({ spec: { type: "restore", options: shape, shape: {}, weights: null }, digest }),
  };
}
