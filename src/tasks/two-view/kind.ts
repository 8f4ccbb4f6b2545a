/** Two views of a picture as a task of a run. What is held out may look otherwise than what is trained on. */
import { Rng } from "../../base/random.ts";
import { isImageSource, loadImages } from "../../data/images/source.ts";
import { split } from "../../data/split.ts";
import { storedAs } from "../../model/formats/stored-tensors.ts";
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
    ...storedAs({
      file: "two_view_model.safetensors",
      tensors: tensorsOf(shape),
      size: task.layout.size,
      about: { file: "two_view_config.json", content: { ...shape, views } },
    }),
    budgetProblem: (budget) => (budget > task.budget.full ? "1 is one view, 2 the other, and 3 both" : null),
  });
}
