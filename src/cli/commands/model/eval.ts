/** `flame eval`: how well a model, with or without an adapter, answers what it was not trained on. */

import { writeSync } from "node:fs";
import { streamAtomically } from "../../../base/disk.ts";
import { ScenarioError } from "../../../base/errors.ts";
import { type Batch, idsOf } from "../../../data/batches.ts";
import { requireEngine } from "../../../engine/create.ts";
import { percent } from "../../../report/numbers.ts";
import { formatTable } from "../../../report/table.ts";
import { llmSpec } from "../../../tasks/llm/kind.ts";
import { createEngine } from "../../../tasks/open/create-engine.ts";
import type { TaskEngine } from "../../../tasks/task-engine.ts";
import { ProgressLine } from "../../screen/progress-line.ts";
import { terminal } from "../../screen/terminal.ts";
import { type QuestionFlags, questionsFor } from "./evaluation-data.ts";
import {
  checkBudget,
  modelAt,
  openSubject,
  type Subject,
  type SubjectFlags,
  usualBudgets,
  warn,
  weightsOf,
} from "./subject.ts";

interface EvalFlags extends SubjectFlags, QuestionFlags {
  readonly budget?: readonly number[];
  readonly engine: string;
  readonly threads: number;
  readonly logits?: string;
  readonly json?: boolean;
}

interface Result {
  readonly budget: number;
  /** Cross-entropy per response token, in nats. */
  readonly loss: number;
  /** Shares in [0, 1]. */
  readonly accuracy: number;
  readonly exactMatch: number;
  readonly examples: number;
  readonly responseTokens: number;
}

export async function evaluate(flags: EvalFlags): Promise<void> {
  const subject = openSubject(flags);
  const { model, trained } = subject;
  const budgets = (flags.budget ?? usualBudgets(model.config)).map((k) => checkBudget(k, model.config));
  if (flags.logits !== undefined && budgets.length !== 1) {
    throw new ScenarioError(`--logits is of one budget, got ${budgets.join(", ")}; expected --budget with one number`);
  }
  const deployments = new Map(budgets.map((k) => [k, trained.at(k)]));
  const engineName = requireEngine(flags.engine);
  const { origin, batches, notes, inputs } = await questionsFor(subject, flags);
  const baseWeights = await weightsOf(model);
  const remarks = [...subject.remarks({ ...inputs, model: baseWeights.digest }), ...notes];
  warn(remarks);
  const engine = await createEngine({
    task: llmSpec(baseWeights, trained.layout.lora, trained.layout.shape),
    engine: engineName,
    threads: flags.threads,
    onStep: progressOf([...deployments.values()].reduce((sum, { models }) => sum + models.length * batches.length, 0)),
  });
  try {
    const results: Result[] = [];
    for (const [budget, deployment] of deployments) {
      const {
        loss,
        targets: responseTokens,
        correct: correctTokens,
        exact,
        examples,
      } = await engine.evaluate({
        ...deployment,
        batches,
      });
      results.push({
        budget,
        loss: loss / responseTokens,
        accuracy: correctTokens / responseTokens,
        exactMatch: exact / examples,
        examples,
        responseTokens,
      });
    }
    if (flags.logits !== undefined) await writeLogits(flags.logits, engine, subject, budgets[0]!, batches[0]!);
    print(flags, subject, origin, results, remarks);
  } finally {
    engine.dispose();
  }
}

/** Real milliseconds after which somebody who waits is told how far it is. */
const shownAfter = 3_000;

/** @returns to be called after each call of a model on a batch */
function progressOf(total: number): () => void {
  const progress = new ProgressLine("call", total);
  const begun = performance.now();
  let done = 0;
  return () => {
    done++;
    // Logits that are asked for come behind.
    if (done <= total && performance.now() - begun > shownAfter) progress.update(done, "evaluated");
    if (done === total) progress.close();
  };
}

function print(
  flags: EvalFlags,
  { model, trained }: Subject,
  origin: string,
  results: readonly Result[],
  remarks: readonly string[],
): void {
  if (flags.json === true) {
    const { round } = trained;
    const about = { model: model.folder, adapter: flags.adapter ?? null, round, data: origin };
    terminal.out.write(`${JSON.stringify({ ...about, remarks, evaluations: results })}\n`);
    return;
  }
  const adapter =
    flags.adapter === undefined
      ? "no adapter"
      : `adapter ${flags.adapter}${trained.round === null ? "" : `, round ${trained.round}`}`;
  const { examples, responseTokens } = results[0]!;
  const table = formatTable(
    ["k", "loss", "tokens right", "exact match"],
    results.map(({ budget, loss, accuracy, exactMatch }) => [
      budget,
      loss.toFixed(4),
      percent(accuracy),
      percent(exactMatch),
    ]),
  );
  terminal.out.write(
    `${model.folder}, ${adapter}\n${origin}: ${examples} examples, ${responseTokens} response tokens\n\n${table}\n`,
  );
}

/** Row by row: the logits of one batch of a large vocabulary would not fit into one string. */
async function writeLogits(
  path: string,
  engine: TaskEngine,
  { trained }: Subject,
  topK: number,
  batch: Batch,
): Promise<void> {
  const { rows, length, lengths } = batch;
  await streamAtomically(path, async (file) => {
    const lists = Array.from({ length: rows }, (_, row) => [
      ...idsOf(batch).subarray(row * length, (row + 1) * length),
    ]);
    const head = JSON.stringify({ ids: lists, lengths: [...lengths], topK });
    writeSync(file, `${head.slice(0, -1)},"logits":[`);
    for (let row = 0; row < rows; row++) {
      const lossPositions = Int32Array.from({ length }, (_, at) => row * length + at);
      const logits = await engine.logits({
        ...modelAt(trained, topK),
        batch: { ...batch, lossPositions, targets: new Int32Array(length) },
      });
      const width = logits.length / length;
      writeSync(file, row === 0 ? "[" : ",[");
      for (let at = 0; at < length; at++) {
        // Nine digits are enough to name every float32.
        const numbers = Array.from(logits.subarray(at * width, (at + 1) * width), (value) =>
          Number(value.toPrecision(9)),
        );
        writeSync(file, `${at === 0 ? "" : ","}${JSON.stringify(numbers)}`);
      }
      writeSync(file, "]");
    }
    writeSync(file, "]}\n");
  });
}
