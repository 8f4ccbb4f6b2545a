/** The model card of a base model made by `flame pretrain`. */
import { activeParameters, countParameters } from "../model/accounting.ts";
import type { ModelConfig } from "../model/config.ts";
import type { PretrainRecipe, PretrainReport } from "./pretrainer.ts";

export function modelCard(config: ModelConfig, recipe: PretrainRecipe, curve: readonly PretrainReport[]): string {
  const last = curve.at(-1);
  const tokens = recipe.steps * recipe.rows * recipe.length;
  const rows = curve.map(
    ({ step, loss, balance, z }) => `| ${step} | ${loss.toFixed(4)} | ${balance.toFixed(4)} | ${z.toFixed(2)} |`,
  );
  const loads = last ? loadRows(config, last) : [];
  return `# The embedded base model

A sparse mixture of experts in the layout of OLMoE (Hugging Face names, float16), small enough to travel with the
program: ${config.layers} layers, width ${config.width}, ${config.experts} experts of width ${config.expertWidth}, top-${config.topK},
byte vocabulary of ${config.vocabulary}. ${millions(countParameters(config).total)} parameters, ${millions(activeParameters(config, config.topK))} active per token at k = ${config.topK}.

Pre-trained from scratch on the generated corpus of \`src/pretraining/corpus.ts\`: drills in many formats and plain stories, no
third-party text. The wordings and the prompt format of the instruction families that scenarios fine-tune on do not
occur in it.

| setting | value |
| --- | --- |
| steps, rows × tokens | ${recipe.steps}, ${recipe.rows} × ${recipe.length} (${millions(tokens)} tokens) |
| AdamW | rate ${recipe.learningRate}, ${recipe.warmupSteps} steps of warm-up, cosine to a tenth; betas 0.9, 0.95; decay ${recipe.weightDecay}; clip ${recipe.clipNorm} |
| losses | cross-entropy + 0.01 · load balancing + 0.001 · router z |
| seed | ${recipe.seed} |

On held-out documents (the balance loss is 1 when experts are loaded evenly):

| step | loss per byte, nats | balance | router z |
| --- | --- | --- | --- |
${rows.join("\n")}

Load of the experts on held-out text, relative to an even share:

| layer | least | most |
| --- | --- | --- |
${loads.join("\n")}

Made by the command below. The same version of the program gives the same bytes on the same machine; another one may
round differently and end near these figures.

    npx flame pretrain --to my-base --steps ${recipe.steps} --seed ${recipe.seed}
`;
}

function loadRows({ layers, experts }: ModelConfig, { load }: PretrainReport): string[] {
  return Array.from({ length: layers }, (_, layer) => {
    const row = load.slice(layer * experts, (layer + 1) * experts);
    const mean = row.reduce((a, b) => a + b, 0) / experts;
    return `| ${layer} | ${(Math.min(...row) / mean).toFixed(2)} | ${(Math.max(...row) / mean).toFixed(2)} |`;
  });
}

const millions = (count: number): string => `${(count / 1e6).toFixed(2)} M`;
