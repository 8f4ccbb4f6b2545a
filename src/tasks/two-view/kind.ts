/** Two views of a picture as a task of a run. What is held out may look otherwise than what is trained on. */
import { join } from "node:path";
import { writeAtomically } from "../../base/disk.ts";
import { Rng } from "../../base/random.ts";
import { isImageSource, loadImages } from "../../data/images/source.ts";
import { split } from "../../data/split.ts";
import { namedTensors } from "../../model/formats/flat-tensors.ts";
import { writeSafetensors } from "../../model/formats/safetensors-writer.ts";
import type { OpenedTask, OpenOptions, TaskKind } from "../kind.ts";
import { openRows } from "../rows.ts";
import { requireSource } from "../sources.ts";
import type { TwoViewFields } from "./fields.ts";
import { type TwoViewShape, tensorsOf, twoViewTask } from "./task.ts";
import { inputsOf, twoViewsOf } from "./views.ts";

export const twoView: TaskKind<TwoViewFields, TwoViewShape> = { open, make: (shape) => twoViewTask(shape) };

async function open({ views, hidden, features }: TwoViewFields, options: OpenOptions): Promise<OpenedTask> {
  const { name, seed, data } = options;
  const from = requireSource(
    data.source,
    isImageSource,
    name,
    "two-view learns pictures; expected digits() or images(path)",
  );
  const images = loadImages(from, { seed });
  const { image, categoryNames } = images;
  const shape: TwoViewShape = { inputs: inputsOf(image, views), hidden, features, classes: categoryNames.length };
  const task = twoViewTask(shape);
  return openRows({
    type: "two-view",
    task,
    options: shape,
    source: images,
    data() {
      const heldOut = new Set(split(images, { heldOut: data.heldOut }).heldOut);
      return twoViewsOf(images, views, (example) => heldOut.has(example), new Rng(seed));
    },
    save: (folder, parameters) => save(folder, { ...shape, views }, parameters),
    budgetProblem: (budget) => (budget > task.budget.full ? "1 is one view, 2 the other, and 3 both" : null),
  });
}

/** As safetensors, and beside it what views it reads. */
function save(folder: string, shape: TwoViewShape & Pick<TwoViewFields, "views">, parameters: Float32Array): void {
  writeSafetensors(join(folder, "two_view_model.safetensors"), namedTensors(tensorsOf(shape), parameters));
  writeAtomically(join(folder, "two_view_config.json"), `${JSON.stringify(shape, null, 2)}\n`);
}
