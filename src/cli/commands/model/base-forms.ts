/** What a model takes in every form of its base weights: memory by formula, and where it is asked for, time by products. */
import { formatBytes, formatTime } from "../../../base/units.ts";
import { chooseEngine, createExecutor } from "../../../engine/create.ts";
import { trainingMemory } from "../../../model/accounting.ts";
import { type BaseForm, baseForms, baseWeightPlan } from "../../../model/base-weights.ts";
import type { ModelConfig } from "../../../model/config.ts";
import { formatTable } from "../../../report/table.ts";
import { type StepSize, stepSeconds } from "../../../study/product-times.ts";
import { frozenBytes } from "../../../tasks/client-memory.ts";

export interface FormFigures {
  readonly form: BaseForm;
  /** Bytes of the file that all workers map. */
  readonly weightBytes: number;
  readonly budgets: readonly {
    readonly topK: number;
    /** Bytes that each worker takes besides. */
    readonly workerBytes: number;
    /** Of a step on one core, or on the GPU; null where none was asked for or the engine does not read this form. */
    readonly stepSeconds: number | null;
  }[];
}

export async function formFigures(
  config: ModelConfig,
  budgets: readonly number[],
  size: StepSize,
  isTimed: boolean,
): Promise<FormFigures[]> {
  const { engine } = chooseEngine("auto");
  const executor = isTimed ? await createExecutor(engine, 1) : null;
  const figures: FormFigures[] = [];
  for (const form of baseForms) {
    const { tensors, bytes } = baseWeightPlan(config, form);
    const { widened } = frozenBytes({ path: "", tensors });
    const isRead = form === "f32" || engine.startsWith("onnx");
    const seconds = executor !== null && isRead ? await stepSeconds(executor, config, budgets, form, size) : null;
    figures.push({
      form,
      weightBytes: bytes,
      budgets: budgets.map((topK, at) => {
        const lora = { rank: size.rank, alpha: size.rank };
        const { total, weights } = trainingMemory(config, lora, { k: topK, tokens: size.tokens, bytesPerWeight: 4 });
        return { topK, workerBytes: total - weights + widened, stepSeconds: seconds?.[at] ?? null };
      }),
    });
  }
  return figures;
}

/** @param tokens that a client trains on */
export function describeForms(forms: readonly FormFigures[], batch: number, tokens: number): string {
  const isTimed = forms.some(({ budgets }) => budgets.some(({ stepSeconds }) => stepSeconds !== null));
  const client = `${tokens.toLocaleString("en-US")} tokens`;
  return formatTable(
    ["--base", "weights", "k", "a worker", ...(isTimed ? ["tokens/s", client] : [])],
    forms.flatMap(({ form, weightBytes, budgets }) =>
      budgets.map(({ topK, workerBytes, stepSeconds }, at) => [
        at === 0 ? form : "",
        at === 0 ? formatBytes(weightBytes) : "",
        topK,
        formatBytes(workerBytes),
        ...(isTimed ? paceOf(stepSeconds, batch, tokens) : []),
      ]),
    ),
    1,
  );
}

function paceOf(stepSeconds: number | null, batch: number, tokens: number): [string, string] {
  if (stepSeconds === null) return ["\u00b7", "\u00b7"];
  const rate = batch / stepSeconds;
  const shown = rate >= 100 ? Math.round(rate).toLocaleString("en-US") : rate.toPrecision(3);
  return [shown, formatTime((1_000 * tokens) / rate)];
}
