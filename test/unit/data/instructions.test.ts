import assert from "node:assert/strict";
import { test } from "node:test";
import { ScenarioError } from "../../../src/base/errors.ts";
import { Rng } from "../../../src/base/random.ts";
import { idsOf } from "../../../src/data/batches.ts";
import type { Example } from "../../../src/data/example.ts";
import { FAMILIES, FAMILY_NAMES } from "../../../src/data/families.ts";
import { generateExamples } from "../../../src/data/generate.ts";
import { instructions, loadData, textSourceSchema } from "../../../src/data/source.ts";
import { byteTokenizer } from "../../../src/data/tokenizer.ts";
import { corpusBatch, drawDocument } from "../../../src/pretraining/corpus.ts";

const examples = generateExamples({ examples: 20_000, seed: 1 });

/** The answers once more, from the words of the question alone. */
function answer({ instruction, input, category }: Example): string {
  switch (category) {
    case "addition": {
      const [, a, b] = /^(\d+) and (\d+)$/.exec(input)!;
      return String(Number(a) + Number(b));
    }
    case "capitals":
      return instruction.includes("capital") ? input.toUpperCase() : input.toLowerCase();
    case "counting": {
      const [, letter] = / ([a-z])( is used\?|\.)$/.exec(instruction.replace("is ", "").replace(" used", " is used"))!;
      return String([...input].filter((other) => other === letter).length);
    }
    case "ends":
      return input.slice(0, 1) + input.slice(-1);
    case "extraction": {
      const [, key] = / of (.)\.$| does (.) stand/.exec(instruction)!.filter((part) => part !== undefined);
      return new RegExp(`\\b${key}=(\\d+)`).exec(input)![1]!;
    }
    case "reversal":
      return input.split("").reduce((text, letter) => letter + text, "");
    case "sorting":
      return input
        .split("")
        .sort((a, b) => a.charCodeAt(0) - b.charCodeAt(0))
        .join("");
    case "succession":
      return String.fromCharCode(...Array.from(input, (letter) => letter.charCodeAt(0) + 1));
    default:
      throw new Error(category);
  }
}

test("every generated instruction has the one right answer, of 1 to 8 characters", () => {
  for (const example of examples) {
    assert.equal(example.response, answer(example), JSON.stringify(example));
    assert.ok(example.response.length >= 1 && example.response.length <= 8);
  }
});

test("eight families share the examples evenly", () => {
  const counts = new Map<string, number>();
  for (const { category } of examples) counts.set(category, (counts.get(category) ?? 0) + 1);
  assert.deepEqual([...counts.keys()].sort(), FAMILY_NAMES);
  assert.deepEqual(new Set(counts.values()), new Set([2_500]));
});

test("no question is asked twice, not even in other words", () => {
  const questions = new Set(examples.map(({ category, input, response }) => `${category} ${input} ${response}`));
  assert.equal(questions.size, examples.length);
});

test("a shorter list is the beginning of a longer one, and another seed gives another list", () => {
  assert.deepEqual(generateExamples({ examples: 200, seed: 1 }), examples.slice(0, 200));
  assert.notDeepEqual(generateExamples({ examples: 200, seed: 2 }), examples.slice(0, 200));
});

test("a family's examples do not depend on which other families take part", () => {
  const alone = generateExamples({ examples: 50, seed: 1, families: ["sorting"] });
  assert.deepEqual(alone, examples.filter(({ category }) => category === "sorting").slice(0, 50));
});

test("typos spoil so many of an instruction's characters, level by level, and leave question and answer alone", () => {
  const typed = generateExamples({ examples: 2_000, seed: 1, typos: { careful: 0, hasty: 0.4 } });
  const kept = { careful: [] as number[], hasty: [] as number[] };
  for (const [at, { category, instruction, ...rest }] of typed.entries()) {
    const { category: _, instruction: meant, ...same } = examples[at]!;
    assert.deepEqual(rest, same);
    kept[category as keyof typeof kept].push(Number(instruction === meant));
  }
  assert.ok(kept.careful.every((is) => is === 1) && kept.careful.length > 900 && kept.hasty.length > 900);
  // Of 15 characters and more each stays with a probability of 0.6.
  assert.ok(kept.hasty.filter((is) => is === 1).length < 20);
});

test("more examples than a family has is a mistake that names both numbers", () => {
  assert.throws(
    () => generateExamples({ examples: 100_000, seed: 1 }),
    (error: Error) =>
      error instanceof ScenarioError && /100000/.test(error.message) && /"addition" for 12500/.test(error.message),
  );
});

test("an unknown family is refused by the schema", () => {
  assert.equal(textSourceSchema.safeParse(instructions({ examples: 10, families: ["sorting"] })).success, true);
  assert.equal(textSourceSchema.safeParse(instructions({ examples: 10, families: ["poetry"] })).success, false);
});

test("generated examples fit in 48 byte tokens, and the source's own seed wins over the scenario's", async () => {
  const data = await loadData(instructions({ examples: 4_000, seed: 5 }), { seed: 1, maxTokens: 48 });
  assert.deepEqual([data.examples, data.truncated, data.dropped], [4_000, 0, 0]);
  const again = await loadData(instructions({ examples: 4_000 }), { seed: 5, maxTokens: 48 });
  assert.deepEqual(again.tokens, data.tokens);
});

const documentsOf = (seed: number, count: number): string[] =>
  Array.from({ length: count }, (_, index) => drawDocument(new Rng(seed).at("documents", 0).at(index)));

test("the pre-training corpus holds no wording and no input layout of the instruction families", () => {
  const wordings = FAMILIES.flatMap((family) => family.wordings);
  // A wording without its letter: "Count the letter e." is looked for as "count the letter".
  const stems = new Set(wordings.map((wording) => wording.toLowerCase().replace(/ [a-z]( stand for)?[.?]$/, "")));
  for (const document of documentsOf(3, 5_000)) {
    const text = document.toLowerCase();
    for (const stem of stems) assert.ok(!text.includes(stem), `${stem} in ${document}`);
    assert.doesNotMatch(document, /\d and \d|\b[a-z]=\d\d|<[a-z]+>/);
  }
});

test("corpus documents are short and different", () => {
  const first = documentsOf(3, 500);
  assert.ok(new Set(first).size > 470, "drills repeat rarely; only facts and calendars have few forms");
  assert.ok(first.every(({ length }) => length > 0 && length < 400));
});

test("corpus drills are right", () => {
  const cues: Record<string, (data: string) => string> = {
    rev: (data) => [...data].reverse().join(""),
    shout: (data) => data.toUpperCase(),
    "from a to z": (data) => [...data].sort().join(""),
    plus: (data) => String((data.match(/\d+/g) ?? []).reduce((sum, digits) => sum + Number(digits), 0)),
    edges: (data) => data[0]! + data.at(-1)!,
    succ: (data) => String.fromCharCode(...Array.from(data, (letter) => letter.charCodeAt(0) + 1)),
    length: (data) => String(data.length),
  };
  const seen = new Set<string>();
  for (const document of documentsOf(4, 5_000)) {
    for (const [, cue, data, result] of document.matchAll(/^([a-z ]+): (.+) -> (.+)$/gm)) {
      const expected = cues[cue!];
      if (expected === undefined) continue;
      assert.equal(result, expected(data!), document);
      seen.add(cue!);
    }
  }
  assert.deepEqual([...seen].sort(), Object.keys(cues).sort());
});

test("a corpus batch has loss on every token, starts each row with a document and depends on its step alone", () => {
  const options = { rows: 4, length: 96, tokenizer: byteTokenizer };
  const batch = corpusBatch(new Rng(5), 7, options);
  assert.deepEqual(batch, corpusBatch(new Rng(5), 7, options));
  assert.notDeepEqual(idsOf(batch), idsOf(corpusBatch(new Rng(5), 8, options)));
  assert.notDeepEqual(idsOf(batch), idsOf(corpusBatch(new Rng(5), 7, { ...options, part: "heldOut" })));
  assert.equal(batch.lossPositions.length, 4 * 96);
  assert.ok(idsOf(batch).includes(byteTokenizer.end));
  for (let row = 0; row < 4; row++) {
    const ids = idsOf(batch).subarray(row * 96, (row + 1) * 96);
    assert.deepEqual(batch.targets.subarray(row * 96, (row + 1) * 96 - 1), ids.subarray(1));
  }
});
