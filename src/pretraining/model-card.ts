/** The model card of a base model made by `flame pretrain`. */
import { activeParameters, countParameters } from "../model/accounting.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Making, PretrainReport } from "./pretrainer.ts";

export function modelCard({ config, recipe }: Making, curve: readonly PretrainReport[]): string {
  const isDense = config.experts === 1;
  const last = curve.at(-1);
  const tokens = recipe.steps * recipe.rows * recipe.length;
  const mixtureOnly = (text: string): string => (isDense ? "" : text);
  const rows = curve.map(
    ({ step, loss, balance, z }) =>
      `| ${step} | ${loss.toFixed(4)} |${mixtureOnly(` ${balance.toFixed(4)} | ${z.toFixed(2)} |`)}`,
  );
  return `# ${isDense ? "The dense base model" : "The embedded base model"}

${isDense ? denseText(config) : mixtureText(config)}

| setting | value |
| --- | --- |
| steps, rows × tokens | ${recipe.steps}, ${recipe.rows} × ${recipe.length} (${millions(tokens)} tokens) |
| AdamW | rate ${recipe.learningRate}, ${recipe.warmupSteps} steps of warm-up, cosine to a tenth; betas 0.9, 0.95; decay ${recipe.weightDecay}; clip ${recipe.clipNorm} |
| losses | cross-entropy${mixtureOnly(" + 0.01 · load balancing + 0.001 · router z")} |
| seed | ${recipe.seed} |

On held-out documents${mixtureOnly(" (the balance loss is 1 when experts are loaded evenly)")}:

| step | loss per byte, nats |${mixtureOnly(" balance | router z |")}
| --- | --- |${mixtureOnly(" --- | --- |")}
${rows.join("\n")}
${mixtureOnly(loadTable(config, last))}
Made by the command below. The same version of the program gives the same bytes on the same machine; another one may
round differently and end near these figures.

    npx flame pretrain ${isDense ? "--dense " : ""}--to my-base --steps ${recipe.steps} --seed ${recipe.seed}
`;
}

const mixtureText = (config: ModelConfig): string =>
  `A sparse mixture of experts in the layout of OLMoE (Hugging Face names, float16), small enough to travel with the
program: ${config.layers} layers, width ${config.width}, ${config.experts} experts of width ${config.expertWidth}, top-${config.topK},
byte vocabulary of ${config.vocabulary}. ${millions(countParameters(config).total)} parameters, ${millions(activeParameters(config, config.topK))} active per token at k = ${config.topK}.

Pre-trained from scratch on the generated corpus of \`src/pretraining/corpus.ts\`: drills in many formats and plain stories, no
third-party text. The wordings and the prompt format of the instruction families that scenarios fine-tune on do not
occur in it.`;

const denseText = (config: ModelConfig): string =>
  `A dense transformer, written as a mixture of one expert in the layout of OLMoE (Hugging Face names, float16), small
enough to travel with the program: ${config.layers} layers, width ${config.width}, MLPs of ${config.expertWidth} channels, byte vocabulary of ${config.vocabulary};
${millions(countParameters(config).total)} parameters. The task \`refactor\` cuts it into experts.

Pre-trained from scratch on generated instructions of all eight families (\`src/pretraining/instruction-corpus.ts\`). Of all
questions, those with the smallest hashes, a fifth, do not occur in it: a scenario that holds out no larger share asks
what is new to it.`;

function loadTable(config: ModelConfig, last: PretrainReport | undefined): string {
  const loads = last ? loadRows(config, last) : [];
  return `
Load of the experts on held-out text, relative to an even share:

| layer | least | most |
| --- | --- | --- |
${loads.join("\n")}
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
