/** Coloured images as a task of a run: a representation and heads that begin with random weights, all of which train. */
import { join } from "node:path";
import { sha256 } from "../../base/digest.ts";
import { writeAtomically } from "../../base/disk.ts";
import { ScenarioError } from "../../base/errors.ts";
import { Rng } from "../../base/random.ts";
import { pixelsOf } from "../../data/images/labelled.ts";
import { isImageSource, loadImages } from "../../data/images/source.ts";
import { writeSafetensors } from "../../model/formats/safetensors-writer.ts";
import type { OpenedTask, OpenOptions, TaskKind } from "../kind.ts";
import { coloured } from "./data.ts";
import type { ColouredFields } from "./fields.ts";
import { type ColouredOptions, colouredTask } from "./task.ts";

export const colouredKind: TaskKind<ColouredFields, ColouredOptions> = { open, make: (spec) => colouredTask(spec) };

async function open(fields: ColouredFields, { name, seed, data: { source } }: OpenOptions): Promise<OpenedTask> {
  if (!isImageSource(source)) {
    const what = "the task coloured learns images; expected digits() or images(path)";
    throw new ScenarioError(`scenario "${name}": data.source is ${source.type}, but ${what}`);
  }
  const images = loadImages(source, { seed });
  const { representation, hidden, environments, heads = environments.length } = fields;
  const spec: ColouredOptions = { inputs: 2 * pixelsOf(images.image), representation, hidden, heads };
  const task = colouredTask(spec);
  const { layout } = task;
  const digest = sha256(JSON.stringify(spec));
  return {
    type: "coloured",
    task,
    layout,
    members: 1,
    layers: 0,
    experts: 0,
    bytes: { download: 4 * layout.size, upload: 4 * layout.size },
    digest,
    save(folder, parameters) {
      const tensors = layout.groups.map(({ name: group, ranges }) => {
        const [{ start, end }] = ranges as readonly [{ start: number; end: number }];
        return { name: group, shape: [end - start], values: parameters.subarray(start, end) };
      });
      writeSafetensors(join(folder, "heads_model.safetensors"), tensors);
      writeAtomically(join(folder, "heads_config.json"), `${JSON.stringify(spec, null, 2)}\n`);
    },
    initial: (rng) => task.initial(rng, 0),
    problems: [],
    budgetProblem: (budget) => (budget > 1 ? "every client trains the whole model, which is 1" : null),
    load: async () => ({
      data: coloured(images, fields, new Rng(seed)),
      length: 1,
      notes: images.notes,
      read: { data: images.digest, tokenizer: null, template: null },
    }),
    spec: async () => ({ spec: { type: "coloured", options: spec, shape: {}, weights: null }, digest }),
  };
}
