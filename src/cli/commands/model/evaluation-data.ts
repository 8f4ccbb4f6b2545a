/** What `flame eval` asks a model: a run's own held-out examples, generated ones, or a file. */

import { ScenarioError } from "../../../base/errors.ts";
import { given } from "../../../base/given.ts";
import { type Batch, evaluationBatches } from "../../../data/batches.ts";
import { exampleLength } from "../../../data/examples.ts";
import { loadData } from "../../../data/source.ts";
import { split } from "../../../data/split.ts";
import { readTokenRows } from "../../../data/token-rows.ts";
import { notesOn, type TokenizedData } from "../../../data/tokenized.ts";
import type { Digests } from "../../../folder/provenance.ts";
import { requireText } from "../../../tasks/sources.ts";
import type { Subject } from "./subject.ts";

export interface Questions {
  /** For the reader of the results. */
  readonly origin: string;
  readonly batches: readonly Batch[];
  /** What of the data is in no batch. */
  readonly notes: readonly string[];
  /** Of what was read for them and the run had read, too. */
  readonly inputs: Digests;
}

export interface QuestionFlags {
  /** A file, or `generated`; a run's own data unless given. */
  readonly data?: string;
  /** A JSON file of token ids. */
  readonly tokens?: string;
  readonly examples?: number;
  readonly seed: number;
}

const rowsPerBatch = 16;

/** Generated questions of one held-out share; so many more have to be made. */
const heldOut = 0.1;

export async function questionsFor(
  subject: Subject,
  { data, tokens, examples, seed }: QuestionFlags,
): Promise<Questions> {
  const { model, run } = subject;
  if (tokens !== undefined) {
    if (data !== undefined) throw new ScenarioError("--data and --tokens are both given, expected one of them");
    const batch = readTokenRows(tokens, model.config);
    if (batch.targets.length === 0) throw new ScenarioError(`${tokens}: no token carries loss`);
    return { origin: tokens, batches: [batch], notes: [], inputs: {} };
  }
  const tokenizer = await model.tokenizer();
  const inputs = { tokenizer: tokenizer.digest };
  const template = run?.data.template;
  const options = { seed, tokenizer, ...given({ template }) };
  const { maxTokens } = model.config;
  if (data === undefined && run !== null) {
    const most = Math.min(run.data.maxTokens ?? maxTokens, maxTokens);
    const all = await loadData(requireText(run.data.source), { ...options, seed: run.seed, maxTokens: most });
    const cap = examples ?? run.evaluationExamples;
    const { evaluation, notes } = split(all, { heldOut: run.data.heldOut, evaluationExamples: cap });
    const inputs = { data: all.digest, tokenizer: tokenizer.digest };
    const origin = `held-out examples of run "${run.name}"`;
    return { origin, batches: inBatches(all, evaluation), notes: [...notesOn(all), ...notes], inputs };
  }
  if (data === undefined || data === "generated") {
    // A question's side of the split follows from its text: no run with the usual share was trained on these.
    const count = examples ?? 256;
    const source = { type: "instructions", examples: Math.ceil((2 * count) / heldOut) } as const;
    const all = await loadData(source, { ...options, maxTokens });
    const { evaluation } = split(all, { heldOut, evaluationExamples: count });
    const origin = `generated instructions, seed ${seed}`;
    return { origin, batches: inBatches(all, evaluation), notes: notesOn(all), inputs };
  }
  const all = await loadData({ type: "file", path: data }, { ...options, maxTokens });
  const count = Math.min(examples ?? all.examples, all.examples);
  return {
    origin: data,
    batches: inBatches(
      all,
      Uint32Array.from({ length: count }, (_, e) => e),
    ),
    notes: notesOn(all),
    inputs,
  };
}

function inBatches(data: TokenizedData, examples: Uint32Array): Batch[] {
  const longest = examples.reduce((most, e) => Math.max(most, exampleLength(data, e)), 1);
  const length = Math.min(data.maxTokens, Math.ceil(longest / 8) * 8);
  // Every length costs a compilation at every budget, every pad a computation.
  return evaluationBatches(data, examples, { batchSize: Math.min(rowsPerBatch, examples.length), length, roundTo: 64 });
}
