import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError, InvariantError, ScenarioError } from "../../../src/base/errors.ts";
import { Rng } from "../../../src/base/random.ts";
import { type AdapterLayout, adapterLayout } from "../../../src/model/adapter.ts";
import { baseWeightShapes, type WeightSource, weightsInMemory } from "../../../src/model/base-weights.ts";
import type { ModelConfig } from "../../../src/model/config.ts";
import { exportPeft, importPeft } from "../../../src/model/formats/adapters/peft.ts";
import { parseHuggingFaceConfig } from "../../../src/model/formats/hf-config.ts";
import { SafetensorsFile } from "../../../src/model/formats/safetensors.ts";
import { writeSafetensors } from "../../../src/model/formats/safetensors-writer.ts";
import { mergedWeights } from "../../../src/model/merge.ts";
import { sizeOf } from "../../../src/tensor/graph/shape.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { smallConfig } from "../../support/model-folder.ts";
import { readAll } from "../../support/small-model.ts";

const model: ModelConfig = parseHuggingFaceConfig(smallConfig, "small").model;
const layout = adapterLayout(model, { rank: 2, alpha: 6 });
const ones = [1, 1];

function randomValues(size: number, seed: number): Float32Array {
  const draws = new Rng(seed).at("test values").at(0);
  return Float32Array.from({ length: size }, () => draws.normal());
}

function randomBase(): WeightSource {
  const shapes = [...baseWeightShapes(model)];
  return weightsInMemory(model, new Map(shapes.map(([name, shape], i) => [name, randomValues(sizeOf(shape), i)])));
}

/** `A` or `B` of one projection, straight from the description in `adapter.ts`. */
function factor(
  adapter: Float32Array,
  { ranges, lora: { rank } }: AdapterLayout,
  expert: number,
  name: string,
): Float32Array {
  const [gateUpA, gateB, upB, downA, downB] = ranges(expert).map(({ start, end }) => adapter.subarray(start, end));
  const size = rank * model.width;
  const parts: Record<string, Float32Array> = {
    "gate A": gateUpA!.subarray(0, size),
    "up A": gateUpA!.subarray(size),
    "gate B": gateB!,
    "up B": upB!,
    "down A": downA!,
    "down B": downB!,
  };
  return parts[name]!;
}

test("an exported adapter has PEFT's names, shapes and values, and nothing else", (context) => {
  const folder = temporaryFolder(context);
  const adapter = randomValues(layout.size, 1);
  exportPeft(folder, layout, adapter, { baseModelName: "allenai/OLMoE-1B-7B-0924", rescaler: ones });
  const file = SafetensorsFile.open(join(folder, "adapter_model.safetensors"));
  assert.equal(file.metadata.get("format"), "pt");
  assert.equal(file.tensors.size, 2 * 3 * 6);
  const { width: d, expertWidth: f } = model;
  const shapes = { gate: [d, f], up: [d, f], down: [f, d] } as const;
  for (let l = 0; l < 2; l++) {
    for (let e = 0; e < 3; e++) {
      for (const [projection, [inputs, outputs]] of Object.entries(shapes)) {
        const prefix = `base_model.model.model.layers.${l}.mlp.experts.${e}.${projection}_proj`;
        for (const [side, shape] of [
          ["A", [2, inputs]],
          ["B", [outputs, 2]],
        ] as const) {
          const name = `${prefix}.lora_${side}.weight`;
          assert.deepEqual(file.entry(name).shape, shape);
          assert.deepEqual(file.floats(name), factor(adapter, layout, l * 3 + e, `${projection} ${side}`), name);
        }
      }
    }
  }
  file.close();
  assert.deepEqual(JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8")), {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: "allenai/OLMoE-1B-7B-0924",
    r: 2,
    lora_alpha: 6,
    lora_dropout: 0,
    bias: "none",
    target_modules: ["gate_proj", "up_proj", "down_proj"],
    fan_in_fan_out: false,
    init_lora_weights: true,
    modules_to_save: null,
    inference_mode: true,
  });
});

test("an adapter comes back bit for bit", (context) => {
  const folder = temporaryFolder(context);
  const adapter = randomValues(layout.size, 2);
  exportPeft(folder, layout, adapter, { baseModelName: "base", rescaler: ones });
  const back = importPeft(folder, model);
  assert.deepEqual(back.adapter, adapter);
  assert.deepEqual(back.layout.lora, { rank: 2, alpha: 6 });
  assert.equal(back.baseModelName, "base");
});

const wide = adapterLayout(model, { rank: 2, alpha: 6, targets: "experts-and-attention" });

test("attention has PEFT's names in an exported adapter, and comes back bit for bit", (context) => {
  const folder = temporaryFolder(context);
  const adapter = randomValues(wide.size, 5);
  exportPeft(folder, wide, adapter, { baseModelName: "base", rescaler: ones });
  const { target_modules } = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
  assert.deepEqual(target_modules, [
    ...["gate_proj", "up_proj", "down_proj"],
    ...["q_proj", "k_proj", "v_proj", "o_proj"],
  ]);
  const file = SafetensorsFile.open(join(folder, "adapter_model.safetensors"));
  const { width: d, heads, keyValueHeads } = model;
  const kv = (d / heads) * keyValueHeads;
  // In the order of the description in `adapted-attention.ts`.
  let at = layout.size;
  for (const l of [0, 1]) {
    const expect = (leaf: string, shape: readonly [number, number]) => {
      const name = `base_model.model.model.layers.${l}.self_attn.${leaf}.weight`;
      assert.deepEqual(file.entry(name).shape, shape);
      assert.deepEqual(file.floats(name), adapter.subarray(at, at + shape[0] * shape[1]), name);
      at += shape[0] * shape[1];
    };
    for (const projection of ["q", "k", "v"]) expect(`${projection}_proj.lora_A`, [2, d]);
    expect("q_proj.lora_B", [d, 2]);
    expect("k_proj.lora_B", [kv, 2]);
    expect("v_proj.lora_B", [kv, 2]);
    expect("o_proj.lora_A", [2, d]);
    expect("o_proj.lora_B", [d, 2]);
  }
  assert.equal(at, adapter.length);
  assert.equal(file.tensors.size, 2 * 3 * 6 + 2 * 2 * 4);
  file.close();
  const back = importPeft(folder, model);
  assert.deepEqual(back.adapter, adapter);
  assert.deepEqual(back.layout.lora, wide.lora);
});

test("an adapter with an element that is not finite is refused, by tensor and index", (context) => {
  const folder = temporaryFolder(context);
  for (const broken of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const adapter = randomValues(layout.size, 2);
    const { start } = layout.matrix("downB", 4);
    adapter[start + 5] = broken;
    exportPeft(folder, layout, adapter, { baseModelName: "base", rescaler: ones });
    // Rows of B have as many columns as the rank, 2.
    assert.throws(
      () => importPeft(folder, model),
      (error: Error) =>
        error instanceof InputError &&
        error.message.startsWith(folder) &&
        error.message.endsWith(
          `tensor base_model.model.model.layers.1.mlp.experts.1.down_proj.lora_B.weight has ${broken} at [2, 1], ` +
            "expected finite numbers",
        ),
    );
  }
});

test("a rescaler other than 1 is not left behind in silence", (context) => {
  const folder = temporaryFolder(context);
  const exporting = (rescaler: number[]) =>
    exportPeft(folder, layout, new Float32Array(layout.size), { baseModelName: "base", rescaler });
  assert.throws(
    () => exporting([1, 1.25]),
    (error) => error instanceof ScenarioError && /1\.25 in layer 1\).*--merge/.test(error.message),
  );
  assert.throws(() => exporting([1]), InvariantError);
});

test("what is not per-expert LoRA is refused with the reason", (context) => {
  const folder = temporaryFolder(context);
  exportPeft(folder, layout, new Float32Array(layout.size), { baseModelName: "base", rescaler: ones });
  const path = join(folder, "adapter_config.json");
  const good = JSON.parse(readFileSync(path, "utf8"));
  const refused = (change: Record<string, unknown>, reason: RegExp) => {
    writeFileSync(path, JSON.stringify({ ...good, ...change }));
    assert.throws(
      () => importPeft(folder, model),
      (error) => error instanceof InputError && error.message.startsWith(folder) && reason.test(error.message),
      JSON.stringify(change),
    );
  };
  refused(
    { target_modules: ["gate_proj", "up_proj", "down_proj", "q_proj"] },
    /expected exactly gate_proj, up_proj, down_proj: LoRA is on experts, or on them and all of q_proj, k_proj/,
  );
  refused({ target_modules: "all-linear" }, /target_modules is "all-linear"/);
  refused({ target_parameters: ["mlp.experts.gate_up_proj"] }, /fused form/);
  refused({ use_dora: true }, /DoRA/);
  refused({ bias: "all" }, /bias is "all"/);
  refused({ modules_to_save: ["lm_head"] }, /the base stays frozen/);
  refused({ rank_pattern: { q_proj: 4 } }, /rank_pattern is \{"q_proj":4\}, expected one rank/);
  for (const start of ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "method-of-tomorrow"]) {
    refused({ init_lora_weights: start }, new RegExp(`init_lora_weights is "${start}".*save it as plain LoRA`));
  }
  refused({ lora_alpha: 0 }, /lora_alpha is 0, expected more than 0/);
  refused({ lora_alpha: -16 }, /lora_alpha is -16, expected more than 0/);
  for (const change of [
    { alora_invocation_tokens: [1, 2] },
    { layer_replication: [[0, 2]] },
    { layers_to_transform: [0] },
    { layers_to_transform: 1 },
    { layers_pattern: "layers" },
    { exclude_modules: ["down_proj"] },
    { use_qalora: true },
    { lora_bias: true },
    { loftq_config: { loftq_bits: 4 } },
    { trainable_token_indices: [5] },
    { megatron_config: { tensor_model_parallel_size: 2 } },
    { field_of_tomorrow: 0.5 },
  ]) {
    refused(change, new RegExp(`${Object.keys(change)[0]} is `));
  }
  refused({ peft_type: "IA3" }, /peft_type/);
  refused({ r: 4 }, /36 mistakes[\s\S]*has shape \[2, 8\], expected \[4, 8\]/);
  writeFileSync(
    path,
    JSON.stringify({ ...good, use_rslora: true, target_modules: ["down_proj", "gate_proj", "up_proj"] }),
  );
  assert.equal(importPeft(folder, model).layout.lora.alpha, 6 * Math.SQRT2);
  // All that PEFT 0.21 writes for plain LoRA.
  const written = {
    ...{ alora_invocation_tokens: null, alpha_pattern: {}, arrow_config: null, auto_mapping: null, corda_config: null },
    ...{ ensure_weight_tying: false, eva_config: null, exclude_modules: null, layer_replication: null },
    ...{ layers_pattern: null, layers_to_transform: null, loftq_config: {}, lora_bias: false, megatron_config: null },
    ...{ megatron_core: "megatron.core", peft_version: "0.21.0", qalora_group_size: 16, rank_pattern: {} },
    ...{ revision: "main", target_parameters: null, trainable_token_indices: null, use_dora: false },
    ...{ use_qalora: false, use_rslora: false, lora_dropout: 0.05 },
  };
  for (const start of [true, false, "gaussian", "eva", "orthogonal"]) {
    writeFileSync(path, JSON.stringify({ ...good, ...written, init_lora_weights: start }));
    assert.equal(importPeft(folder, model).layout.lora.alpha, 6);
  }
  writeFileSync(path, JSON.stringify(good));
  assert.throws(
    () => importPeft(folder, { ...model, experts: 4 }),
    /12 mistakes[\s\S]*experts\.3\.gate_proj\.lora_A\.weight is missing/,
  );
  writeSafetensors(join(folder, "adapter_model.safetensors"), []);
  assert.throws(() => importPeft(folder, model), /36 mistakes/);
});

test("merged attention is W + (alpha ÷ rank) · B·A, q, k and v side by side", () => {
  const base = randomBase();
  const adapter = randomValues(wide.size, 6);
  const before = readAll(base);
  const after = readAll(mergedWeights(base, wide, adapter, [0.5, 1.75]));
  const columns = (name: string) => (name === "o" ? model.width : before.get("layers.0.qkv")!.length / model.width);
  for (const [l, { pairs }] of wide.attention.entries()) {
    let column = 0;
    for (const { projection, inputs, outputs, a, b } of pairs) {
      const name = projection === "o" ? "o" : "qkv";
      if (name === "o") column = 0;
      for (let i = 0; i < inputs; i++) {
        for (let o = 0; o < outputs; o++) {
          let delta = 0;
          for (let r = 0; r < 2; r++) delta += adapter[b + o * 2 + r]! * adapter[a + r * inputs + i]!;
          const at = i * columns(name) + column + o;
          const expected = before.get(`layers.${l}.${name}`)![at]! + 3 * delta;
          // One rounding to float32.
          const error = Math.abs(after.get(`layers.${l}.${name}`)![at]! - expected);
          assert.ok(error <= Math.abs(expected) * 2 ** -23 + 1e-9, `${projection} of layer ${l}`);
        }
      }
      column += outputs;
    }
  }
});

test("merged experts are W + (alpha ÷ rank)·B·A, and each down projection carries its layer's rescaler", () => {
  const base = randomBase();
  const adapter = randomValues(layout.size, 3);
  const rescaler = [0.5, 1.75];
  const before = readAll(base);
  const after = readAll(mergedWeights(base, layout, adapter, rescaler));
  const { width: d, expertWidth: f, experts } = model;
  for (let l = 0; l < 2; l++) {
    for (let e = 0; e < experts; e++) {
      const part = (name: string) => factor(adapter, layout, l * experts + e, name);
      const check = (
        name: string,
        index: number,
        projection: string,
        i: number,
        o: number,
        inputs: number,
        s: number,
      ) => {
        let delta = 0;
        for (let r = 0; r < 2; r++)
          delta += part(`${projection} B`)[o * 2 + r]! * part(`${projection} A`)[r * inputs + i]!;
        const expected = s * (before.get(name)![index]! + 3 * delta);
        // One rounding to float32.
        assert.ok(
          Math.abs(after.get(name)![index]! - expected) <= Math.abs(expected) * 2 ** -23 + 1e-9,
          `${name}[${index}]`,
        );
      };
      for (let i = 0; i < d; i++) {
        for (let o = 0; o < f; o++) {
          const row = (e * d + i) * 2 * f;
          check(`layers.${l}.gateUp`, row + o, "gate", i, o, d, 1);
          check(`layers.${l}.gateUp`, row + f + o, "up", i, o, d, 1);
        }
      }
      for (let i = 0; i < f; i++) {
        for (let o = 0; o < d; o++) check(`layers.${l}.down`, (e * f + i) * d + o, "down", i, o, f, rescaler[l]!);
      }
    }
  }
  for (const [name, values] of before) {
    if (!/gateUp|down/.test(name)) assert.deepEqual(after.get(name), values, name);
  }
});

test("an untrained adapter merges into the base itself", () => {
  const base = randomBase();
  const adapter = randomValues(layout.size, 4);
  // B = 0, as LoRA starts.
  for (let expert = 0; expert < layout.layers * layout.experts; expert++) {
    for (const name of ["gateB", "upB", "downB"] as const) {
      const { start, end } = layout.matrix(name, expert);
      adapter.fill(0, start, end);
    }
  }
  assert.deepEqual(readAll(mergedWeights(base, layout, adapter, ones)), readAll(base));
});

test("an expert read alone is the same as read with all others", () => {
  const merged = mergedWeights(randomBase(), layout, randomValues(layout.size, 5), [2, 3]);
  const all = readAll(merged);
  const size = model.expertWidth * model.width;
  const second = new Float32Array(size);
  merged.read("layers.1.down", second, size);
  assert.deepEqual(second, all.get("layers.1.down")!.subarray(size, 2 * size));
  assert.throws(() => merged.read("layers.1.down", second, 1), InvariantError);
});

test("routers that train are saved whole for PEFT, come back as their change, bit for bit, and merge", (context) => {
  const folder = temporaryFolder(context);
  const routed = adapterLayout(model, { rank: 2, alpha: 6 }, { routers: true });
  const adapter = randomValues(routed.size, 4);
  const base = randomBase();
  assert.throws(() => exportPeft(folder, routed, adapter, { baseModelName: "b", rescaler: ones }), InvariantError);
  exportPeft(folder, routed, adapter, { baseModelName: "b", rescaler: ones, base });
  const back = importPeft(folder, model);
  assert.deepEqual(back.adapter, adapter);
  assert.deepEqual(back.layout.routers, routed.routers);
  const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8")) as Record<string, unknown>;
  assert.deepEqual(config.modules_to_save, ["gate"]);
  const file = SafetensorsFile.open(join(folder, "adapter_model.safetensors"));
  const merged = readAll(mergedWeights(base, routed, adapter, ones));
  const { experts, width } = model;
  for (const [layer, { start }] of routed.routers.entries()) {
    const router = new Float32Array(width * experts);
    base.read(`layers.${layer}.router`, router);
    const name = `base_model.model.model.layers.${layer}.mlp.gate.weight`;
    assert.deepEqual(file.entry(name).shape, [experts, width]);
    const whole = file.floats(name);
    for (let e = 0; e < experts; e++) {
      for (let d = 0; d < width; d++) {
        const sum = Math.fround(router[d * experts + e]! + adapter[start + e * width + d]!);
        assert.equal(whole[e * width + d], sum);
        assert.equal(merged.get(`layers.${layer}.router`)![d * experts + e], sum);
      }
    }
  }
  file.close();
  rmSync(join(folder, "routers.safetensors"));
  assert.throws(() => importPeft(folder, model), /routers\.safetensors is missing: the adapter saves routers whole/);
});
