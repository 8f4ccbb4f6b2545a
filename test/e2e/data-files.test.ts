/** Files as people have them, rebuilt small: what `flame eval` finds was computed without this project. */
import assert from "node:assert/strict";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { runFlame } from "../support/command-line.ts";
import { temporaryFolder } from "../support/folders.ts";
import { goldenFolder } from "../support/golden.ts";

const numbers = Array.from({ length: 20 }, (_, at) => at);
const say = (at: number) => ({ instruction: `Say the number ${at}.`, input: "", output: `number ${at}` });

async function evaluated(t: TestContext, records: readonly object[], ...more: string[]) {
  const path = join(temporaryFolder(t), "data.json");
  writeFileSync(path, JSON.stringify(records, null, 1));
  const { code, out, err } = await runFlame("eval", "--data", path, "--budget", "8", "--json", ...more);
  assert.equal(code, 0, err);
  const { remarks, evaluations } = JSON.parse(out);
  assert.equal(err.trim(), remarks.join("\n"));
  return { remarks, ...evaluations[0] };
}

test("Alpaca and Dolly in one table: every row is read under the spelling that has its text", async (t) => {
  const table = numbers.map((at) =>
    at % 2 === 0
      ? { ...say(at), context: "", response: "", category: "" }
      : {
          instruction: `Who is ${at}?`,
          input: "",
          output: "",
          context: `Person ${at} is the baker of the village.`,
          response: `The baker ${at}.`,
          category: "closed_qa",
        },
  );
  const { examples, responseTokens, loss, remarks } = await evaluated(t, table);
  assert.deepEqual([examples, responseTokens, remarks], [20, 230, []]);
  assert.ok(Math.abs(loss - 3.63397) < 1e-5, `${loss}`);
});

test("blank and null outputs are passed over, and it is said where", async (t) => {
  const outputs = numbers.map((at) =>
    at === 3 ? { ...say(at), output: null } : at === 7 ? { ...say(at), output: " \n" } : say(at),
  );
  const { examples, remarks } = await evaluated(t, outputs);
  assert.equal(examples, 18);
  assert.deepEqual(remarks, [
    "passed over, the response is blank or null: 2 times, first in data.json element 3 (line 17)",
  ]);
});

/** A byte-level tokenizer of few letters whose runs of spaces are added tokens, as OLMoE's are. */
function writeSpaceTokenizer(folder: string): void {
  const letters = [..."#:,.()=+-*/'\"|!?<>_abcdefghijklmnopqrstuvwxyzIRADEMLSĠĊ", "re", "in", "th", "er"];
  const vocab = Object.fromEntries(["<|endoftext|>", "<|padding|>", ...letters].map((token, id) => [token, id]));
  const added = (id: number, content: string, special: boolean) => ({
    id,
    content,
    special,
    normalized: !special,
    single_word: false,
    lstrip: false,
    rstrip: false,
  });
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const description = {
    version: "1.0",
    added_tokens: [
      added(0, "<|endoftext|>", true),
      added(1, "<|padding|>", true),
      added(61, " ".repeat(8), false),
      added(62, " ".repeat(4), false),
      added(63, "  ", false),
      added(64, "|||EMAIL_ADDRESS|||", false),
    ],
    normalizer: { type: "NFC" },
    pre_tokenizer: byteLevel,
    post_processor: byteLevel,
    decoder: byteLevel,
    model: { type: "BPE", vocab, merges: ["r e", "i n", "t h", "e r"] },
  };
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(description));
  const config = { eos_token: "<|endoftext|>", pad_token: "<|padding|>", tokenizer_class: "GPTNeoXTokenizerFast" };
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(config));
}

test("runs of spaces in code are the tokens that the model was pre-trained with", async (t) => {
  const model = temporaryFolder(t);
  for (const name of ["config.json", "model.safetensors"]) copyFileSync(join(goldenFolder, name), join(model, name));
  writeSpaceTokenizer(model);
  const code = { instruction: "indent it", input: "", output: "if a:\n    return b" };
  const { responseTokens, loss } = await evaluated(t, [code], "--model", model);
  assert.equal(responseTokens, 15);
  assert.ok(Math.abs(loss - 5.26354) < 1e-5, `${loss}`);
});

test("a run says at its beginning what of the data it does not use, and how it is split and dealt", async (t) => {
  const folder = temporaryFolder(t);
  const greetings = Array.from({ length: 180 }, (_, at) => ({ instruction: "Greet.", output: `Hello ${at}!` }));
  const path = join(folder, "data.json");
  writeFileSync(path, JSON.stringify([...greetings, ...numbers.map(say), { instruction: "a", output: "" }]));
  const scenario = {
    name: "read-data",
    timingOnly: true,
    data: { source: { type: "file" }, partition: { type: "dirichlet", alpha: 1 }, heldOut: 0.1, maxTokens: 256 },
    fleet: [{ name: "a", clients: 2, budget: 1, tokensPerSecond: 1_000, uplink: 1e6 }],
    rounds: { count: 1, cohort: 1, deadline: null },
  };
  writeFileSync(join(folder, "scenario.json"), JSON.stringify(scenario));
  const words = ["run", join(folder, "scenario.json"), "--data", path, "--out", join(folder, "run")];
  const { code, out, err } = await runFlame(...words);
  assert.equal(code, 0, err);
  for (const note of [
    "passed over, the response is blank or null: data.json element 200 (line 1)",
    "20 of 200 examples are held out, and data.heldOut asks for 20: examples of one question stay together",
    'all examples have the category "uncategorised"',
  ]) {
    assert.ok(`${out}${err}`.includes(note), `${note}\n${out}${err}`);
  }
});
