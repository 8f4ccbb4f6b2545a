/** Every switch of the configuration against an independent forward pass, through the files a user would have. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { adapterLayout } from "../../../src/model/adapter.ts";
import type { BaseWeights } from "../../../src/model/base-weights.ts";
import { loadCheckpoint } from "../../../src/model/formats/checkpoint.ts";
import { BaseWeightsFile, prepareBaseWeights } from "../../../src/model/formats/prepare-weights.ts";
import { writeCheckpoint } from "../../../src/model/formats/write-checkpoint.ts";
import { executors } from "../../support/executors.ts";
import { feedsFor } from "../../support/feeds.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { evaluationOf } from "../../support/llm-programs.ts";
import { type PlainConfig, randomTensors, smallConfig, writeFolder } from "../../support/model-folder.ts";
import { type OlmoeConfig, plainLogits } from "../../support/plain-olmoe.ts";

const switches: Readonly<Record<string, Partial<OlmoeConfig>>> = {
  "no switch": {},
  "two query heads per key head": { num_key_value_heads: 2 },
  "one key head for all": { num_key_value_heads: 1 },
  "clamped queries, keys and values": { clip_qkv: 0.4 },
  "routing weights that sum to 1": { norm_topk_prob: true },
  "tied embeddings": { tie_word_embeddings: true },
  "slower rotation": { rope_theta: 100 },
  "a large epsilon": { rms_norm_eps: 0.5 },
  "biases in attention": { attention_bias: true },
  "one expert per token": { num_experts_per_tok: 1 },
  "all experts": { num_experts_per_tok: 3 },
  "everything at once": {
    num_key_value_heads: 2,
    clip_qkv: 0.4,
    norm_topk_prob: true,
    tie_word_embeddings: true,
    rope_theta: 100,
    rms_norm_eps: 0.5,
    attention_bias: true,
  },
};

/** Switches under which the same tensors make another model: each must show in the logits. */
const comparable = new Set([
  "clip_qkv",
  "norm_topk_prob",
  "rope_theta",
  "rms_norm_eps",
  "attention_bias",
  "num_experts_per_tok",
]);

const base: OlmoeConfig = { ...smallConfig, hidden_size: 16 };

const rows = [
  [3, 1, 4, 1, 5, 9, 2],
  [6, 5, 3, 5, 8, 9, 7],
];

for (const [name, change] of Object.entries(switches)) {
  test(`logits are those of the definition with ${name}`, async (context) => {
    const config: OlmoeConfig = { ...base, ...change };
    const tensors = randomTensors(config as PlainConfig);
    const expected = rows.flatMap((ids) => plainLogits(config, tensors, ids)).flat();
    if (Object.keys(change).some((key) => comparable.has(key)) && !change.tie_word_embeddings) {
      const without = rows.flatMap((ids) => plainLogits({ ...config, ...neutral(change) }, tensors, ids)).flat();
      assert.ok(relativeError(without, expected) > 1e-2, "the switch changes nothing here");
    }

    const weights = await throughFiles(context, config, tensors);
    const layout = adapterLayout(weights.config, { rank: 1, alpha: 1 });
    const positions = Array.from({ length: 14 }, (_, at) => at);
    const feeds = {
      parameters: new Float32Array(layout.size),
      personal: new Float32Array(layout.layers).fill(1),
      ids: rows.flat(),
      padding: new Int32Array(14),
      positions,
      targets: positions.map(() => 0),
    };
    const shape = { rows: 2, length: 7, topK: weights.config.topK };
    const program = evaluationOf(weights.config, layout, shape, "merged", true);
    for (const { name: executor, create } of executors) {
      const executable = await (await create()).compile(program, weights);
      const { logits } = await executable.run(feedsFor(program, feeds));
      executable.dispose();
      const error = relativeError(logits as Float32Array, expected);
      // Float32 against float64.
      assert.ok(error <= 1e-5, `${executor}: relative error ${error}`);
    }
  });
}

/** Written by plain loops, read, converted, written by us, read again. */
async function throughFiles(
  context: TestContext,
  config: OlmoeConfig,
  tensors: ReturnType<typeof randomTensors>,
): Promise<BaseWeights> {
  const folder = temporaryFolder(context);
  writeFolder(join(folder, "theirs"), config, tensors);
  const theirs = loadCheckpoint(join(folder, "theirs"));
  const source = new BaseWeightsFile(await prepareBaseWeights(theirs, join(folder, "cache")));
  writeCheckpoint(join(folder, "ours"), source);
  source.close();
  theirs.close();
  const ours = loadCheckpoint(join(folder, "ours"));
  assert.deepEqual(ours.config, theirs.config);
  const weights = await prepareBaseWeights(ours, join(folder, "cache again"));
  ours.close();
  return weights;
}

/** The same fields as without the switch. */
function neutral(change: Partial<OlmoeConfig>): Partial<OlmoeConfig> {
  return Object.fromEntries(Object.keys(change).map((key) => [key, base[key as keyof OlmoeConfig]]));
}

/** ‖a − b‖ ÷ ‖b‖. */
function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}
