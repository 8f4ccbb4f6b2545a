/** What the opened task of a language model has besides: its config and its adapter's layout. */
import type { OpenedTask } from "../../src/tasks/kind.ts";
import type { llmTask } from "../../src/tasks/llm/task.ts";

export function openedLlm({ type, task }: OpenedTask): ReturnType<typeof llmTask> {
  if (type !== "llm") throw new Error(`expected a language model, got the task ${type}`);
  return task as ReturnType<typeof llmTask>;
}
