/** FedMoE's Figure 2 in miniature, on the base model that comes with the program. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../src/base/random.ts";
import { evaluationBatches } from "../../src/data/batches.ts";
import { instructions, loadData } from "../../src/data/source.ts";
import { defaultTemplate } from "../../src/data/template.ts";
import { adapterLayout } from "../../src/model/adapter.ts";
import { embeddedModel } from "../../src/run/package.ts";
import { llmSpec } from "../../src/tasks/llm/kind.ts";
import { openModel } from "../../src/tasks/llm/load-model.ts";
import { createEngine } from "../../src/tasks/open/create-engine.ts";

test("the half of the experts that a kind of question uses most serves it better than most halves by chance", async (context) => {
  const opened = openModel(embeddedModel());
  const { layers, experts } = opened.config;
  const tokenizer = await opened.tokenizer();
  const data = await loadData(instructions({ examples: 400 }), {
    seed: 1,
    tokenizer,
    template: defaultTemplate(tokenizer),
    maxTokens: 48,
  });
  const lora = { rank: 1, alpha: 1 };
  const engine = await createEngine({ task: llmSpec(await opened.weights(), lora) });
  context.after(() => engine.dispose());
  const adapter = new Float32Array(adapterLayout(opened.config, lora).size);
  const rescaler = new Float32Array(layers).fill(1);
  const each = Array.from({ length: experts }, (_, expert) => expert);

  for (let kind = 0; kind < 3; kind++) {
    const own = Uint32Array.from(
      Array.from({ length: data.examples }, (_, e) => e).filter((e) => data.category[e] === kind),
    );
    const batches = evaluationBatches(data, own, { batchSize: 16, length: 48 });
    const heldTo = async (kept: readonly (readonly number[])[]) => {
      const routerBias = new Float32Array(layers * experts).fill(-1e9);
      for (const [layer, some] of kept.entries()) for (const expert of some) routerBias[layer * experts + expert] = 0;
      const variant = { topK: 2, masked: 1 };
      const { loss, ...found } = await engine.evaluate({
        models: [{ parameters: adapter, personal: rescaler, variant, inputs: { routerBias } }],
        batches,
      });
      return { ...found, loss: loss / found.targets };
    };
    const layersOf = (choose: (layer: number) => readonly number[]) =>
      Array.from({ length: layers }, (_, layer) => choose(layer));
    const { counts: activations } = await heldTo(layersOf(() => each));
    const byUse = (layer: number) =>
      each.toSorted((a, b) => activations[layer * experts + b]! - activations[layer * experts + a]!);
    const most = await heldTo(layersOf((layer) => byUse(layer).slice(0, experts / 2)));
    const chance: number[] = [];
    for (let seed = 0; seed < 9; seed++) {
      const some = (layer: number) =>
        new Rng(seed)
          .at("half", layer)
          .at(0)
          .shuffle(each.slice())
          .slice(0, experts / 2);
      chance.push((await heldTo(layersOf(some))).loss);
    }
    const beaten = chance.filter((loss) => most.loss < loss).length;
    assert.ok(beaten > chance.length / 2, `kind ${kind}: ${most.loss} and by chance ${chance.join(", ")}`);
    context.diagnostic(`kind ${kind}: ${most.loss.toFixed(3)}, better than ${beaten} of ${chance.length} by chance`);
  }
});
