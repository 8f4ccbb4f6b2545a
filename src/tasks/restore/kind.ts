/** Restoration as a task of a run: the embedded restorer, ranks of its products, and grey pictures from wherever. */
import { sha256 } from "../../base/digest.ts";
import { ScenarioError } from "../../base/errors.ts";
import { Rng } from "../../base/random.ts";
import { isImageSource, loadImages } from "../../data/images/source.ts";
import { storedAs } from "../../model/formats/stored-tensors.ts";
import type { OpenedTask, OpenOptions, TaskKind } from "../kind.ts";
import { rankTensors } from "../ranks.ts";
import { openRows } from "../rows.ts";
import { requireSource } from "../sources.ts";
import { degradePictures, pictureProblem } from "./data.ts";
import { scores } from "./degrade.ts";
import type { RestoreFields } from "./fields.ts";
import { illustrated } from "./illustrate.ts";
import { embeddedRestorer, products } from "./restorer.ts";
import { type RestoreShape, restoreTask } from "./task.ts";

export const restore: TaskKind<RestoreFields, RestoreShape> = { open, make: (shape) => restoreTask(shape) };

async function open(fields: RestoreFields, { name, seed, data: { source } }: OpenOptions): Promise<OpenedTask> {
  const learns = "restore learns pictures; expected pictures({ examples }), digits(…) or images(path)";
  const images = loadImages(requireSource(source, isImageSource, name, learns), { seed });
  const problem = pictureProblem(images);
  if (problem !== null) throw new ScenarioError(`scenario "${name}": data.source has pictures that ${problem}`);
  const { shared, routed, zero, topK, scale, levels } = fields;
  const base = embeddedRestorer();
  const shape: RestoreShape = { ranks: { shared, routed, zero }, topK, scale, side: images.image.width / 2, base };
  const task = restoreTask(shape);
  const data = () => degradePictures(images, levels, new Rng(seed));
  return openRows({
    type: "restore",
    task,
    options: shape,
    digest: sha256(JSON.stringify({ ...shape, base: [...base] })),
    source: images,
    data,
    layers: routed === 0 ? 0 : products.length,
    experts: routed,
    ...storedAs({
      file: "ranks.safetensors",
      tensors: rankTensors(products, shape.ranks, scores),
      size: task.layout.size,
    }),
    pictures: async (engine, parameters, examples) => [
      await illustrated(data(), examples, engine, { parameters, variant: task.budget.variant(topK) }),
    ],
    budgetProblem: (budget) => (budget > topK ? `task.topK is ${topK}` : null),
  });
}
