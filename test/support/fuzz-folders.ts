/**
 * Files of folders that somebody else may have made: a finished run's, a study's, an adapter's, a model's. Each
 * target replaces one file of a good folder, or one line of it, and reads the folder as a command would.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { InputError } from "../../src/base/errors.ts";
import { loadHuggingFaceTokenizer } from "../../src/data/hf-tokenizer.ts";
import { readTokenRows } from "../../src/data/token-rows.ts";
import { openRunFolder, readResult } from "../../src/folder/run-folder.ts";
import { adapterLayout } from "../../src/model/adapter.ts";
import { exportPeft } from "../../src/model/formats/adapters/peft.ts";
import { loadCheckpoint } from "../../src/model/formats/checkpoint.ts";
import { parseHuggingFaceConfig } from "../../src/model/formats/hf-config.ts";
import { readParticipations, readRun } from "../../src/report/run-folder.ts";
import { run } from "../../src/run/run.ts";
import { readAdapter } from "../../src/run/trained-adapter.ts";
import { storedCellSchema } from "../../src/study/cell.ts";
import { CellFolder } from "../../src/study/cell-folder.ts";
import { readStudy } from "../../src/study/study.ts";
import { verifyRun } from "../../src/study/verify.ts";
import type { FuzzTarget } from "./fuzz.ts";
import { randomTensors, smallConfig, writeFolder } from "./model-folder.ts";
import { timingOnly } from "./scenarios.ts";

const allowed = [InputError];
const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));

export async function folderTargets(parent: string): Promise<FuzzTarget[]> {
  return [...(await runTargets(parent)), ...modelTargets(parent), ...otherTargets(parent)];
}

/** A run that has finished, as `flame verify` and the report read it. */
async function runTargets(parent: string): Promise<FuzzTarget[]> {
  const path = join(parent, "finished");
  await run(timingOnly({ rounds: { count: 1, cohort: 2, deadline: 60_000 } }), { out: path });
  // They have targets of their own.
  for (const name of readdirSync(join(path, "checkpoints"))) rmSync(join(path, "checkpoints", name));
  const linesOf = (name: string) => readFileSync(join(path, name), "utf8").split("\n").slice(0, -1);
  /** One line of a file is another; the others stay. */
  const withLine = (name: string, read: () => unknown): FuzzTarget => {
    const lines = linesOf(name);
    const rest = Buffer.from(`${lines.slice(0, -1).join("\n")}\n`);
    const whole = readFileSync(join(path, name));
    return {
      name: `last line of ${name}`,
      form: "json",
      seeds: [Buffer.from(lines.at(-1)!)],
      allowed,
      async accepts(bytes) {
        writeFileSync(join(path, name), Buffer.concat([rest, bytes]));
        try {
          return (await read()) !== false;
        } finally {
          writeFileSync(join(path, name), whole);
        }
      },
    };
  };
  /** Whether the files agree with one another: the seal alone would refuse every byte that is another. */
  const verified = async () =>
    (await verifyRun(path)).checks.every(
      (check) => check.holds !== false || check.name.startsWith("the files are those"),
    );
  const whenVerified = (name: string): FuzzTarget => ({
    ...withLine(name, verified),
    name: `last line of ${name}, verified`,
    isSlow: true,
  });
  const reported = () => [readRun(path), ...readParticipations(path)];
  const result = readFileSync(join(path, "result.json"));
  return [
    withLine("metrics.jsonl", reported),
    withLine("participations.jsonl", reported),
    whenVerified("metrics.jsonl"),
    whenVerified("participations.jsonl"),
    whenVerified("events.jsonl"),
    {
      name: "result.json",
      form: "json",
      seeds: [result],
      allowed,
      accepts(bytes) {
        const folder = openRunFolder(path);
        writeFileSync(folder.result, bytes);
        try {
          return readResult(folder) !== null;
        } finally {
          writeFileSync(folder.result, result);
        }
      },
    },
  ];
}

/** Folders in the layouts of Hugging Face and PEFT. */
function modelTargets(parent: string): FuzzTarget[] {
  const model = join(parent, "model");
  writeFolder(model, smallConfig, randomTensors(smallConfig), 2);
  const index = join(model, "model.safetensors.index.json");
  const adapter = join(parent, "adapter");
  mkdirSync(adapter);
  const config = parseHuggingFaceConfig(smallConfig, "config.json").model;
  const layout = adapterLayout(config, { rank: 2, alpha: 4 });
  const rescaler = new Float32Array(layout.layers).fill(1);
  exportPeft(adapter, layout, new Float32Array(layout.size), { baseModelName: "x", rescaler });
  const rescalers = { rescalers: [1, 2].map((topK) => ({ topK, factors: [1.5, 0.5] })) };
  writeFileSync(join(adapter, "rescalers.json"), json(rescalers));
  const adapterFile = (name: string): FuzzTarget => {
    const path = join(adapter, name);
    const whole = readFileSync(path);
    return {
      name,
      form: "json",
      seeds: [whole],
      allowed,
      accepts(bytes) {
        writeFileSync(path, bytes);
        try {
          return readAdapter(adapter, config).budgets !== null;
        } finally {
          writeFileSync(path, whole);
        }
      },
    };
  };
  return [
    {
      name: "index of a model in parts",
      form: "json",
      seeds: [readFileSync(index)],
      allowed,
      accepts(bytes) {
        writeFileSync(index, bytes);
        loadCheckpoint(model).close();
        return true;
      },
    },
    adapterFile("adapter_config.json"),
    adapterFile("rescalers.json"),
  ];
}

function otherTargets(parent: string): FuzzTarget[] {
  const tokens = join(parent, "tokens.json");
  const tokenizer = join(parent, "tokenizer");
  const cells = join(parent, "study");
  for (const folder of [tokenizer, cells]) mkdirSync(folder);
  const key = "0123456789abcdef";
  const tier = { tier: "phone", invited: 4, counted: 2 };
  const evaluation = { budget: 2, loss: 1.5, accuracy: 0.5, exactMatch: 0.25 };
  const cell = {
    ...{ seed: 1, rounds: 2, virtualTime: 1_000, bytes: 64, invited: 4, counted: 2 },
    ...{ distinctClients: 2, clients: 6, tiers: [tier], evaluations: [evaluation], violations: [] },
    ...{ costs: null, fairness: null },
  };
  const at = { dropout: { label: "dropout 10 %", value: 0.1 } };
  const plan = {
    ...{ name: "x", question: null, task: "llm", notes: ["flame stands for fedavg"] },
    axes: [{ id: "dropout", title: "dropout", role: "condition", levels: [at.dropout] }],
    cells: [
      {
        key,
        method: "flame",
        condition: "dropout 10 %",
        at,
        strategy: "flame",
        seed: 1,
        changes: { seed: 1, set: ["a=1"] },
      },
    ],
  };
  const stored = { cell, digest: "abc", curve: [{ round: 2, closedAt: 1_000, evaluations: [evaluation] }] };
  return [
    {
      name: "cells of a study",
      form: "json",
      seeds: [json({ key, cell: stored })],
      allowed,
      accepts(bytes) {
        writeFileSync(join(cells, "cells.jsonl"), Buffer.concat([bytes, Buffer.from("\n")]));
        const folder = new CellFolder(cells, storedCellSchema);
        folder.close();
        return folder.get(key) !== undefined;
      },
    },
    {
      name: "plan of a study",
      form: "json",
      seeds: [json(plan)],
      allowed,
      accepts(bytes) {
        rmSync(join(cells, "cells.jsonl"), { force: true });
        writeFileSync(join(cells, "study.json"), bytes);
        return readStudy(cells).cells.length > 0;
      },
    },
    {
      name: "rows of tokens",
      form: "json",
      seeds: [
        json({
          ids: [
            [1, 2, 3],
            [4, 5, 6],
          ],
          lengths: [3, 2],
        }),
        json({ input_ids: [[1, 2]], labels: [[-100, 2]] }),
      ],
      allowed,
      accepts(bytes) {
        writeFileSync(tokens, bytes);
        return readTokenRows(tokens, { vocabulary: 16, maxTokens: 8 }).targets.length >= 0;
      },
    },
    {
      name: "tokenizer.json",
      form: "json",
      seeds: [json(byteLevelTokenizer)],
      allowed,
      async accepts(bytes) {
        writeFileSync(join(tokenizer, "tokenizer.json"), bytes);
        const loaded = await loadHuggingFaceTokenizer(tokenizer);
        return loaded.vocabulary > 0;
      },
    },
  ];
}

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
const byteLevelTokenizer = {
  version: "1.0",
  added_tokens: [{ id: 6, content: "<|endoftext|>", special: true }],
  normalizer: null,
  pre_tokenizer: byteLevel,
  post_processor: null,
  decoder: byteLevel,
  model: { type: "BPE", vocab: { l: 0, o: 1, w: 2, lo: 3, low: 4, s: 5 }, merges: ["l o", "lo w"] },
};
