/** The tasks there are. */
import type { Executor } from "../../tensor/executors/executor.ts";
import { colouredKind } from "../coloured/kind.ts";
import type { TaskType } from "../facts.ts";
import type { TaskKind, TaskSpec } from "../kind.ts";
import { llm } from "../llm/kind.ts";
import { pregating } from "../pregating/kind.ts";
import { refactor } from "../refactor/kind.ts";
import { restore } from "../restore/kind.ts";
import { tabular } from "../tabular/kind.ts";
import type { Task } from "../task.ts";
import { twoView } from "../two-view/kind.ts";
import { vision } from "../vision/kind.ts";

const kinds: Readonly<Record<TaskType, TaskKind<unknown, unknown>>> = {
  coloured: colouredKind,
  llm,
  pregating,
  refactor,
  restore,
  tabular,
  "two-view": twoView,
  vision,
};

export const kindOf = (type: TaskType): TaskKind<unknown, unknown> => kinds[type];

/** @param executor what runs it; without one, the form that needs the least memory */
export function makeTask({ type, options, shape }: TaskSpec, executor: Pick<Executor, "pads"> | null = null): Task {
  return kinds[type].make(options, shape, executor);
}
