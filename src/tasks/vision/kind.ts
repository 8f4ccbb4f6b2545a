/** Images and what they show as a task of a run: a network that begins with random weights, all of which train. */
import { given } from "../../base/given.ts";
import { expected } from "../../base/problem.ts";
import type { Rng } from "../../base/random.ts";
import type { Batch } from "../../data/batches.ts";
import { isImageSource, loadImages } from "../../data/images/source.ts";
import { storedAs } from "../../model/formats/stored-tensors.ts";
import type { OpenedTask, OpenOptions, TaskKind } from "../kind.ts";
import { membersOf } from "../members.ts";
import { openRows } from "../rows.ts";
import { requireSource } from "../sources.ts";
import type { TaskEngine } from "../task-engine.ts";
import type { VisionFields } from "./fields.ts";
import { mistakesOf } from "./mistakes.ts";
import { blocksOf, tensorsOf } from "./network.ts";
import { type VisionOptions, visionTask } from "./task.ts";

type VisionSpec = Omit<VisionOptions, "narrow" | "norms" | "rescale">;

export const vision: TaskKind<VisionFields, VisionSpec> = {
  open,
  make: (spec, { members = 1, norms, rescale }) =>
    visionTask({ ...spec, narrow: members, ...given({ norms, rescale }) }),
};

async function open({ network }: VisionFields, options: OpenOptions): Promise<OpenedTask> {
  const { name, seed, shape, data } = options;
  const from = requireSource(
    data.source,
    isImageSource,
    name,
    "vision learns images; expected digits() or images(path)",
  );
  const images = loadImages(from, { seed });
  const spec: VisionSpec = { network, image: images.image, classes: images.categoryNames.length };
  const { members = 1, norms, rescale } = shape;
  const task = vision.make(spec, shape, null);
  return openRows({
    type: "vision",
    task,
    options: spec,
    shape,
    source: images,
    data: () => images,
    layout: membersOf(task.layout, members),
    members,
    ...storedAs({
      file: "network_model.safetensors",
      tensors: tensorsOf(blocksOf(network, spec.image, spec.classes, members, norms), members),
      size: members * task.layout.size,
      about: { file: "network_config.json", content: { ...spec, members, rescale } },
    }),
    pictures: async (engine, parameters, examples) => [
      await mistakesOf(images, examples, (batch) => meanLogits(engine, parameters, batch)),
    ],
    initial: (rng) => initialOf(task, members, rng),
    problems:
      shape.norms === undefined || network.type === "cnn"
        ? []
        : [
            expected(
              "task.network.type",
              `"cnn", which has norms for the robust training that is asked for`,
              network.type,
            ),
          ],
    budgetProblem: (budget) => (budget > task.budget.full ? `the network has ${task.budget.full} of them` : null),
  });
}

function initialOf(task: ReturnType<typeof visionTask>, members: number, rng: Rng): Float32Array {
  const { size } = task.layout;
  const parameters = new Float32Array(members * size);
  for (let member = 0; member < members; member++) parameters.set(task.initial(rng, member), member * size);
  return parameters;
}

/** What all members say together. */
async function meanLogits(engine: TaskEngine, parameters: Float32Array, batch: Batch): Promise<Float32Array> {
  const { size } = engine.task.layout;
  const members = parameters.length / size;
  const personal = new Float32Array(0);
  const said: Float32Array[] = [];
  for (let member = 0; member < members; member++) {
    const own = parameters.slice(member * size, (member + 1) * size);
    said.push(await engine.logits({ batch, parameters: own, personal, variant: { from: 1 } }));
  }
  return said[0]!.map((_, at) => said.reduce((sum, logits) => sum + logits[at]!, 0) / members);
}
