/** Pre-gating as a task of a run: the folder of a mixture of experts, instructions, and the router that is to replace its own. */
import { ScenarioError } from "../../base/errors.ts";
import { expected } from "../../base/problem.ts";
import { storedAs } from "../../model/formats/stored-tensors.ts";
import type { OpenedTask, OpenOptions, TaskKind } from "../kind.ts";
import { loadInstructions, tooLong } from "../llm/instructions.ts";
import { openModel, shapeDigest } from "../llm/load-model.ts";
import type { PregatingFields } from "./fields.ts";
import { type PregatingOptions, pregatingTask } from "./task.ts";

export const pregating: TaskKind<PregatingFields, PregatingOptions> = { open, make: pregatingTask };

async function open({ type, model: given, ...fields }: PregatingFields, options: OpenOptions): Promise<OpenedTask> {
  const model = openModel(given === "embedded" ? options.embedded : given);
  const { config } = model;
  if (config.experts === 1)
    throw new ScenarioError(`scenario "${options.name}": task.model is dense, expected a mixture of experts`);
  const made: PregatingOptions = { config, ...fields };
  const task = pregatingTask(made);
  const { layout } = task;
  const isEven = config.width % (2 * fields.router.heads) === 0;
  const uneven = expected(
    "task.router.heads",
    `heads of an even width: the model's is ${config.width}`,
    fields.router.heads,
  );
  return {
    type,
    task,
    layout,
    members: 1,
    layers: 0,
    experts: 0,
    bytes: { download: 4 * layout.size, upload: 4 * layout.size },
    digest: shapeDigest(config),
    ...storedAs({ file: "gates.safetensors", tensors: task.tensors, size: layout.size }),
    initial: (rng) => task.initial(rng, 0),
    problems: [...tooLong(options.data, config), ...(isEven ? [] : [uneven])],
    budgetProblem: (k) => (k > config.topK ? `the model was trained with ${config.topK} experts per token` : null),
    load: () => loadInstructions(model, options),
    async spec() {
      const weights = await model.weights(options.cache);
      return { spec: { type, options: made, shape: {}, weights }, digest: weights.digest };
    },
  };
}
