/** Two views of a picture as a task of a run. What is held out may look otherwise than what is trained on. */
import { join } from "node:path";
import { sha256 } from "../../base/digest.ts";
import { writeAtomically } from "../../base/disk.ts";
import { ScenarioError } from "../../base/errors.ts";
import { Rng } from "../../base/random.ts";
import { isImageSource, loadImages } from "../../data/images/source.ts";
import { split } from "../../data/split.ts";
import { namedTensors } from "../../model/formats/flat-tensors.ts";
import { writeSafetensors } from "../../model/formats/safetensors-writer.ts";
import type { OpenedTask, OpenOptions, TaskKind } from "../kind.ts";
import type { TwoViewFields } from "./fields.ts";
import { type TwoViewShape, tensorsOf, twoViewTask } from "./task.ts";
import { inputsOf, twoViewsOf } from "./views.ts";

export const twoView: TaskKind<TwoViewFields, TwoViewShape> = { open, make: (shape) => twoViewTask(shape) };

async function open({ views, hidden, features }: TwoViewFields, options: OpenOptions): Promise<OpenedTask> {
  const { name, seed, data } = options;
  if (!isImageSource(data.source)) {
    const what = "the task two-view learns pictures; expected digits() or images(path)";
    throw new ScenarioError(`scenario "${name}": data.source is ${data.source.type}, but ${what}`);
  }
  const images = loadImages(data.source, { seed });
  const { image, categoryNames, notes } = images;
  const shape: TwoViewShape = { inputs: inputsOf(image, views), hidden, features, classes: categoryNames.length };
  const task = twoViewTask(shape);
  const bytes = 4 * task.layout.size;
  const digest = sha256(JSON.stringify(shape));
  return {
    type: "two-view",
    task,
    layout: task.layout,
    members: 1,
    layers: 0,
    experts: 0,
    bytes: { download: bytes, upload: bytes },
    digest,
    save: (folder, parameters) => save(folder, { ...shape, views }, parameters),
    initial: (rng) => task.initial(rng, 0),
    problems: [],
    budgetProblem: (budget) => (budget > task.budget.full ? "1 is one view, 2 the other, and 3 both" : null),
    async load() {
      const heldOut = new Set(split(images, { heldOut: data.heldOut }).heldOut);
      return {
        data: twoViewsOf(images, views, (example) => heldOut.has(example), new Rng(seed)),
        length: 1,
        notes,
        read: { data: images.digest, tokenizer: null, template: null },
      };
    },
    spec: async () => ({ spec: { type: "two-view", options: shape, shape: {}, weights: null }, digest }),
  };
}

/** As safetensors, and beside it what views it reads. */
function save(folder: string, shape: TwoViewShape & Pick<TwoViewFields, "views">, parameters: Float32Array): void {
  writeSafetensors(join(folder, "two_view_model.safetensors"), namedTensors(tensorsOf(shape), parameters));
  writeAtomically(join(folder, "two_view_config.json"), `${JSON.stringify(shape, null, 2)}\n`);
}
