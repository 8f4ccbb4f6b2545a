/** `flame generate`: one answer of a model, so that a person can see what was learned. */
import { InputError } from "../../../base/errors.ts";
import { Rng } from "../../../base/random.ts";
import { defaultTemplate } from "../../../data/template.ts";
import { promptTokens } from "../../../data/tokenized.ts";
import type { Tokenizer } from "../../../data/tokenizer.ts";
import { type Ending, generate, TextStream } from "../../../tasks/llm/generate.ts";
import { llmSpec } from "../../../tasks/llm/kind.ts";
import { createEngine } from "../../../tasks/open/create-engine.ts";
import { colors } from "../../screen/colors.ts";
import { terminal } from "../../screen/terminal.ts";
import { checkBudget, modelAt, openSubject, type Subject, type SubjectFlags, warn, weightsOf } from "./subject.ts";

interface GenerateFlags extends SubjectFlags {
  readonly prompt: string;
  readonly input: string;
  readonly raw?: boolean;
  readonly budget?: number;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed: number;
  readonly threads: number;
  readonly json?: boolean;
}

export async function answer(flags: GenerateFlags): Promise<void> {
  const subject = openSubject(flags);
  const { model, trained } = subject;
  const { config, description } = model;
  const topK = checkBudget(flags.budget ?? config.topK, config);
  const at = modelAt(trained, topK);
  const tokenizer = await model.tokenizer();
  const prompt = promptOf(flags, tokenizer, subject);
  const baseWeights = await weightsOf(model);
  warn(subject.remarks({ model: baseWeights.digest, tokenizer: tokenizer.digest }));
  const engine = await createEngine({
    task: llmSpec(baseWeights, trained.layout.lora, trained.layout.shape),
    threads: flags.threads,
  });
  const shown = new TextStream((ids) => tokenizer.decode(ids));
  const show = (text: string): unknown => flags.json === true || terminal.out.write(text);
  let tokens = 0;
  let ending: Ending;
  try {
    const answer = generate(engine, at, prompt, {
      maxTokens: flags.maxTokens,
      contextTokens: config.maxTokens,
      vocabulary: tokenizer.vocabulary,
      end: new Set([tokenizer.end, ...description.endTokens]),
      sampling: { temperature: flags.temperature, topP: flags.topP },
      draws: new Rng(flags.seed).at("generate"),
    });
    let next = await answer.next();
    for (; next.done !== true; next = await answer.next()) {
      tokens++;
      show(shown.push(next.value));
    }
    ending = next.value;
    show(shown.end());
  } finally {
    engine.dispose();
  }
  if (flags.json === true) {
    terminal.out.write(`${JSON.stringify({ topK, round: trained.round, text: shown.text, tokens, ending })}\n`);
    return;
  }
  terminal.out.write("\n");
  if (terminal.out.isTTY) terminal.err.write(`${colors.dim(`k = ${topK}, ${tokens} tokens, ${endings[ending]}`)}\n`);
}

function promptOf({ prompt, input, raw }: GenerateFlags, tokenizer: Tokenizer, { model, run }: Subject): Int32Array {
  const { maxTokens } = model.config;
  if (raw !== true) {
    const template = run?.data.template ?? defaultTemplate(tokenizer);
    return promptTokens({ instruction: prompt, input }, tokenizer, template, maxTokens);
  }
  const ids = tokenizer.encode(prompt);
  if (ids.length === 0 || ids.length > maxTokens) {
    throw new InputError(`--prompt has ${ids.length} tokens, expected 1 to ${maxTokens}`);
  }
  return ids;
}

const endings: Readonly<Record<Ending, string>> = {
  end: "ended by the model",
  maxTokens: "cut off by --max-tokens",
  context: "cut off: the model reads no further",
};
