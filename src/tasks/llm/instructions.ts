/** The text of a run that trains a language model: instructions, tokenized as the model reads them. */
import { sha256 } from "../../base/digest.ts";
import { ScenarioError } from "../../base/errors.ts";
import { given } from "../../base/given.ts";
import type { Problem } from "../../base/problem.ts";
import { exampleLength } from "../../data/examples.ts";
import { columnOf } from "../../data/partition.ts";
import { loadData } from "../../data/source.ts";
import { defaultTemplate } from "../../data/template.ts";
import { notesOn, type TokenizedData } from "../../data/tokenized.ts";
import type { ModelConfig } from "../../model/config.ts";
import type { Loaded, OpenOptions } from "../kind.ts";
import { requireText } from "../sources.ts";
import type { OpenedModel } from "./load-model.ts";

/** Whether examples may be longer than what the model reads. */
export const tooLong = ({ maxTokens = 0 }: OpenOptions["data"], config: ModelConfig): Problem[] =>
  maxTokens <= config.maxTokens
    ? []
    : [
        {
          path: "data.maxTokens",
          text: `is ${maxTokens}, but the model reads at most ${config.maxTokens} tokens`,
        },
      ];

export async function loadInstructions(
  model: Pick<OpenedModel, "config" | "tokenizer">,
  { name, seed, data }: OpenOptions,
): Promise<Loaded> {
  const { config } = model;
  const tokenizer = await model.tokenizer();
  const template = data.template ?? defaultTemplate(tokenizer);
  if (tokenizer.vocabulary > config.vocabulary) {
    throw new ScenarioError(
      `scenario "${name}": tokenizer "${tokenizer.name}" has ${tokenizer.vocabulary} tokens, ` +
        `but the model has embeddings for ${config.vocabulary}`,
    );
  }
  const maxTokens = Math.min(data.maxTokens ?? config.maxTokens, config.maxTokens);
  const examples = await loadData(requireText(data.source), {
    ...{ seed, tokenizer, template, maxTokens },
    ...given({ column: columnOf(data.partition) }),
  });
  return {
    data: examples,
    length: rowLength(examples, examples.maxTokens),
    notes: notesOn(examples),
    read: { data: examples.digest, tokenizer: tokenizer.digest, template: sha256(JSON.stringify(template)) },
  };
}

/** The longest example, rounded up to a multiple of 8: one shape of batch for the whole run. */
function rowLength(data: TokenizedData, most: number): number {
  let longest = 1;
  for (let e = 0; e < data.examples; e++) longest = Math.max(longest, exampleLength(data, e));
  return Math.min(most, Math.ceil(longest / 8) * 8);
}
