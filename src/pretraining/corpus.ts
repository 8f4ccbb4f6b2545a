/**
 * The pre-training corpus: an endless stream of generated documents, two thirds drills and one third plain text.
 * Batch n is a function of the seed and n, so pre-training can go on anywhere.
 *
 * No document holds a wording of the instruction families. In batches, one document in seven is in the prompt format,
 * so that its marks mean something to the base model, but drills only skills that no family asks for.
 */
import type { Draws, Rng } from "../base/random.ts";
import { type Batch, packedBatch } from "../data/batches.ts";
import { defaultTemplate, type PromptEncoder, promptEncoder, type Segment } from "../data/template.ts";
import { pick } from "../data/text.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { type Drill, drawDrill, drawSkill, UNASKED_SKILLS } from "./corpus-skills.ts";
import { drawStory } from "./corpus-stories.ts";

/** Which stream: the one to train on, or a fresh one to measure with. */
type CorpusPart = "train" | "heldOut";

export interface CorpusBatchOptions {
  readonly rows: number;
  readonly length: number;
  readonly tokenizer: Tokenizer;
  readonly part?: CorpusPart;
}

/** The batch of pre-training step `step ≥ 1`, in which one document in seven is a drill in the prompt format. */
export const corpusBatch = (rng: Rng, step: number, options: CorpusBatchOptions): Batch =>
  filledBatch(rng, step, options, (draws, prompt) =>
    draws.below(7) === 0
      ? drawPrompted(draws, prompt, options.tokenizer)
      : options.tokenizer.encode(drawDocument(draws)),
  );

/**
 * Each row is a run of documents of its own, closed by end tokens, that begins with a document and is cut off at `length`;
 * there is loss on every token.
 */
export function filledBatch(
  rng: Rng,
  step: number,
  { rows, length, tokenizer, part = "train" }: CorpusBatchOptions,
  draw: (draws: Draws, prompt: PromptEncoder) => Int32Array,
): Batch {
  const tokens = new Int32Array(rows * (length + 1));
  const prompt = promptEncoder(defaultTemplate(tokenizer), tokenizer);
  const streams = rng.at(part === "train" ? "corpus" : "corpus held out", step);
  for (let row = 0; row < rows; row++) {
    const draws = streams.at(row);
    const run = tokens.subarray(row * (length + 1), (row + 1) * (length + 1));
    for (let filled = 0; filled < run.length; ) {
      const document = draw(draws, prompt).subarray(0, run.length - filled);
      run.set(document, filled);
      filled += document.length;
      if (filled < run.length) run[filled++] = tokenizer.end;
    }
  }
  return packedBatch(tokens, rows, length);
}

function drawPrompted(draws: Draws, prompt: PromptEncoder, tokenizer: Tokenizer): Int32Array {
  const { cue, data, answer } = drawDrill(pick(UNASKED_SKILLS, draws), draws);
  return inPrompt(prompt(cue, data), tokenizer.encode(answer));
}

/** A prompt with its answer. */
export const inPrompt = (prompt: readonly Segment[], answer: Int32Array): Int32Array =>
  Int32Array.from([...prompt.map(({ ids }) => ids), answer].flatMap((ids) => [...ids]));

type Layout = (drill: Drill) => string;

const LAYOUTS: readonly Layout[] = [
  ({ cue, data, answer }) => `${cue} ${data} = ${answer}`,
  ({ cue, data, answer }) => `${cue}(${data}) ${answer}`,
  ({ cue, data, answer }) => `${cue}: ${data} -> ${answer}`,
  ({ cue, data, answer }) => `${cue} | ${data} | ${answer}`,
  ({ cue, data, answer }) => `[${cue}] ${data} [${answer}]`,
  ({ cue, data, answer }) => `${cue} "${data}" gives ${answer}.`,
  ({ cue, data, answer }) => `${cue}\n${data}\n${answer}`,
  ({ cue, data, answer }) => `${data} ${cue} > ${answer}`,
];

/** Under a title that says what to do, lines show only data and answer. */
const TABLES: readonly Layout[] = [
  ({ data, answer }) => `${data} ${answer}`,
  ({ data, answer }) => `${data}=${answer}`,
  ({ data, answer }) => `${data} -> ${answer}`,
  ({ data, answer }) => `${data}\t${answer}`,
];

/** @internal Up to about 200 characters. */
export function drawDocument(draws: Draws): string {
  const kind = draws.uniform();
  if (kind < 0.3) return drawStory(draws);
  // A drill alone ends where its document ends, so the answer's end is learned, too.
  if (kind < 0.55) return pick(LAYOUTS, draws)(drawDrill(drawSkill(draws), draws));
  const count = 2 + draws.below(4);
  if (kind < 0.8) {
    const layout = pick(LAYOUTS, draws);
    return Array.from({ length: count }, () => layout(drawDrill(drawSkill(draws), draws))).join("\n");
  }
  return drawTable(draws, count);
}

function drawTable(draws: Draws, count: number): string {
  const skill = drawSkill(draws);
  const layout = pick(TABLES, draws);
  const drills = Array.from({ length: count }, () => drawDrill(skill, draws));
  // A cue that names a letter belongs to its own line; the others share the title.
  if (skill === "tally" || skill === "lookUp") return drills.map((one) => `${one.cue} ${layout(one)}`).join("\n");
  return `${drills[0]!.cue}:\n${drills.map(layout).join("\n")}`;
}
