/** Coloured images as a task of a run: a representation and heads that begin with random weights, all of which train. */
import { Rng } from "../../base/random.ts";
import { pixelsOf } from "../../data/images/labelled.ts";
import { isImageSource, loadImages } from "../../data/images/source.ts";
import { storedAs } from "../../model/formats/stored-tensors.ts";
import type { OpenedTask, OpenOptions, TaskKind } from "../kind.ts";
import { openRows } from "../rows.ts";
import { requireSource } from "../sources.ts";
import { coloured } from "./data.ts";
import type { ColouredFields } from "./fields.ts";
import { type ColouredOptions, colouredTask } from "./task.ts";

export const colouredKind: TaskKind<ColouredFields, ColouredOptions> = { open, make: (spec) => colouredTask(spec) };

async function open(fields: ColouredFields, { name, seed, data: { source } }: OpenOptions): Promise<OpenedTask> {
  const from = requireSource(source, isImageSource, name, "coloured learns images; expected digits() or images(path)");
  const images = loadImages(from, { seed });
  const { representation, hidden, environments, heads = environments.length } = fields;
  const spec: ColouredOptions = { inputs: 2 * pixelsOf(images.image), representation, hidden, heads };
  const task = colouredTask(spec);
  return openRows({
    type: "coloured",
    task,
    options: spec,
    source: images,
    data: () => coloured(images, fields, new Rng(seed)),
    ...storedAs({
      file: "heads_model.safetensors",
      tensors: task.layout.groups.map(({ name: group, ranges: [range] }) => ({
        name: group,
        shape: [range!.end - range!.start],
        start: range!.start,
      })),
      size: task.layout.size,
      about: { file: "heads_config.json", content: spec },
    }),
    budgetProblem: (budget) => (budget > 1 ? "every client trains the whole model, which is 1" : null),
  });
}
