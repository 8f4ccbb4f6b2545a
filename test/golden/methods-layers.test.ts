/** Layers that only some clients train, against numbers worked out by other means. Parameters are float32, hence 1e-6 where a rule passes through them. */
import { test } from "node:test";
import { clientId } from "../../src/base/ids.ts";
import { embracingfl } from "../../src/fl/strategies/registry.ts";
import { type Layer, wordsOf } from "../../src/fl/strategies/shapes/layer-memory.ts";
import { close, goldensOf, type Json } from "../support/method-goldens.ts";
import { aggregate, plainLayout, serverOf, settingOf, updateOf } from "../support/quadratic.ts";

const caseOf = goldensOf("embracingfl");

/** What the server makes of clients that train layers q to the last, counted from 1. */
async function layersAfter(first: number[], n: number[], old: number[][], uploads: number[][][]) {
  const [layers, width] = [old.length, old[0]!.length];
  const setting = settingOf(plainLayout(width, layers));
  const updates = first.map((q, client) =>
    updateOf(old.flat(), uploads[client]!.flat(), {
      client: clientId(client),
      examples: n[client]!,
      trained: Uint8Array.from({ length: layers }, (_, layer) => (layer + 1 >= q ? 1 : 0)),
    }),
  );
  const strategy = embracingfl();
  return (await aggregate(strategy, serverOf(strategy, old.flat(), setting), updates, setting)).parameters;
}

test("EmbracingFL: a layer is averaged over the clients that trained it", async () => {
  const { inputs, expected } = caseOf("embracingfl", "aggregate");
  const { firstTrainedLayer, n, old, uploads } = inputs;
  close(await layersAfter(firstTrainedLayer, n, old, uploads), expected.layers.flat());

  const byHand = caseOf("embracingfl", "by hand");
  const three = [[0], [0], [0]];
  const numbered = [1, 2, 3].map((client) => three.map(() => [client]));
  close(await layersAfter(byHand.inputs.firstTrainedLayer, byHand.inputs.n, three, numbered), byHand.expected.layers);
});

test("EmbracingFL: words of memory of training the last layers, and of letting those below pass by", () => {
  const { inputs, expected } = caseOf("embracingfl", "words of memory");
  const { parameters, saved, output, input, batch, optimiserWords } = inputs;
  const layers: Layer[] = parameters.map((count: number, at: number) => ({
    parameters: count,
    saved: saved[at],
    input: output[at - 1] ?? input,
    output: output[at],
  }));
  for (const [q, words] of Object.entries(expected as Json)) {
    const { train, forward, need } = wordsOf(layers, Number(q) - 1, {
      batch,
      optimizerWords: optimiserWords,
      cached: 0,
    });
    const wanted = words as Json;
    close([train, forward, need], [wanted.train, wanted.forward, wanted.need], 0);
  }
});
