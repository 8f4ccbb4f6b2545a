/** The refactoring task of a run: the folder of a dense model, instructions, and how the model is cut. */
import { join } from "node:path";
import { ScenarioError } from "../../base/errors.ts";
import { packageRoot } from "../../base/places.ts";
import { expected, type Problem } from "../../base/problem.ts";
import type { ModelConfig } from "../../model/config.ts";
import { storedAs } from "../../model/formats/stored-tensors.ts";
import type { OpenedTask, OpenOptions, TaskKind } from "../kind.ts";
import { loadInstructions, tooLong } from "../llm/instructions.ts";
import { openModel, shapeDigest } from "../llm/load-model.ts";
import type { RefactorFields } from "./fields.ts";
import { type RefactorOptions, refactorTask } from "./task.ts";

export const refactor: TaskKind<RefactorFields, RefactorOptions> = { open, make: refactorTask };

async function open({ type, model: given, ...fields }: RefactorFields, options: OpenOptions): Promise<OpenedTask> {
  const model = openModel(given === "dense" ? join(packageRoot(), "assets", "dense") : given);
  const { config } = model;
  if (config.modelType !== undefined) {
    throw new ScenarioError(
      `scenario "${options.name}": task.model is a ${config.modelType}, expected an olmoe with one expert a layer`,
    );
  }
  if (config.experts !== 1) {
    throw new ScenarioError(
      `scenario "${options.name}": task.model has ${config.experts} experts a layer, expected a dense model, which has one`,
    );
  }
  const cut: RefactorOptions = { config, ...fields };
  const task = refactorTask(cut);
  const { layout } = task;
  return {
    type,
    task,
    layout,
    members: 1,
    layers: 1,
    experts: fields.experts,
    bytes: { download: 4 * layout.size, upload: 4 * layout.size },
    digest: shapeDigest(config),
    ...storedAs({ file: "cut.safetensors", tensors: task.tensors, size: layout.size }),
    initial: (rng) => task.initial(rng, 0),
    problems: [...tooLong(options.data, config), ...problemsOf(fields, config)],
    budgetProblem: (slots) => (slots > fields.experts ? `the model is cut into ${fields.experts} experts` : null),
    load: () => loadInstructions(model, options),
    async spec() {
      const weights = await model.weights(options.cache);
      return { spec: { type, options: cut, shape: {}, weights }, digest: weights.digest };
    },
  };
}

function problemsOf(
  { experts, active, router }: Omit<RefactorFields, "type" | "model">,
  { width }: ModelConfig,
): Problem[] {
  const problems: Problem[] = [];
  if (active > experts) problems.push(expected("task.active", `at most ${experts}, task.experts`, active));
  if (width % (2 * router.heads) !== 0) {
    problems.push(expected("task.router.heads", `heads of an even width: the model's is ${width}`, router.heads));
  }
  return problems;
}
