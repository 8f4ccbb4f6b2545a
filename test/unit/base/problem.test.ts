/** What somebody is told who wrote something wrong. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as z from "zod";
import { InputError, ScenarioError } from "../../../src/base/errors.ts";
import { count, duration, notNegative, ownFunction, positive, probability, shift } from "../../../src/base/fields.ts";
import { parseInput, parseSpec, problemsOf, show, throwMistakes } from "../../../src/base/problem.ts";

const schema = z.strictObject({
  rate: positive,
  chance: probability.exactOptional(),
  law: z.union([positive, z.strictObject({ type: z.literal("uniform"), min: notNegative, max: positive })]),
  kinds: z.array(z.enum(["a", "b"])).min(1),
});
const good = { rate: 1, law: 1, kinds: ["a"] };

test("every mistake is told, with its field, what was expected and what came", () => {
  assert.deepEqual(problemsOf(schema, good), []);
  assert.deepEqual(problemsOf(schema, { rate: 0, chance: 1.5, law: { type: "uniform", min: -1, max: 2 }, kinds: [] }), [
    { path: "rate", text: "is 0, expected more than 0" },
    { path: "chance", text: "is 1.5, expected a probability in [0, 1]" },
    { path: "law.min", text: "is -1, expected at least 0" },
    { path: "kinds", text: "is [], expected at least 1 in length" },
  ]);
  assert.deepEqual(problemsOf(schema, { rate: "1", law: "uniform", kinds: ["c"] }, "spec"), [
    { path: "spec.rate", text: 'is "1", expected a number' },
    { path: "spec.law", text: 'is "uniform", expected a number or an object' },
    { path: "spec.kinds[0]", text: 'is "c", expected one of "a", "b"' },
  ]);
  assert.deepEqual(problemsOf(schema, []), [{ path: "", text: "is [], expected an object" }]);
  assert.deepEqual(problemsOf(schema, { ...good, chnace: 1 }), [
    { path: "chnace", text: "is not a field that exists here; did you mean chance?" },
  ]);
});

test("no number stands for a finite one, and no fraction for a whole one", () => {
  const text = (field: z.ZodType, value: unknown) => problemsOf(field, value).map((problem) => problem.text);
  assert.deepEqual(text(positive, Number.NaN), ["is NaN, expected a finite number"]);
  assert.deepEqual(text(probability, Infinity), ["is Infinity, expected a finite number"]);
  assert.deepEqual(text(count, 1.5), ["is 1.5, expected a whole number"]);
  assert.deepEqual(text(duration, 0), ["is 0, expected a whole number of milliseconds in [1, 31622400000000]"]);
  assert.deepEqual(text(duration, 1e300), [
    "is 1e+300, expected a whole number of milliseconds in [1, 31622400000000]",
  ]);
  assert.deepEqual(text(shift, -1), []);
  assert.deepEqual(text(ownFunction("a function of one client"), 3), ["is 3, expected a function of one client"]);
});

test("one mistake stands behind its place, several below it, and no more than a person reads", () => {
  const refused = (lines: readonly string[]) => {
    try {
      throwMistakes("a.json", lines);
    } catch (error) {
      assert.ok(error instanceof InputError);
      return error.message;
    }
    return null;
  };
  assert.equal(refused([]), null);
  assert.equal(refused(["x is 1", "x is 1"]), "a.json: x is 1");
  assert.equal(refused(["x is 1", "y is 2"]), "a.json has 2 mistakes\n  x is 1\n  y is 2");
  const many = refused(Array.from({ length: 500 }, (_, at) => `x${at} is 1`))!;
  assert.match(many, /^a\.json has 500 mistakes\n[\s\S]* {2}… and 490 more$/);
});

test("what is parsed has its defaults; a mistake in it is the scenario's or the file's", () => {
  const withDefault = z.strictObject({ rate: positive.default(2) });
  assert.deepEqual(parseSpec("policy", withDefault, {}), { rate: 2 });
  assert.deepEqual(parseInput("a.json", withDefault, {}), { rate: 2 });
  assert.throws(
    () => parseSpec("policy", withDefault, { rate: -1 }),
    (error) => error instanceof ScenarioError && error.message === "policy.rate is -1, expected more than 0",
  );
  assert.throws(
    () => parseInput("a.json", withDefault, 7),
    (error) => error instanceof InputError && error.message === "a.json: the value is 7, expected an object",
  );
});

test("a value is shown on one short line, whatever it is", () => {
  assert.deepEqual([undefined, null, -0, "a", [1], () => 1, 2n].map(show), [
    ...["missing", "null", "0", '"a"', "[1]", "a function", "2"],
  ]);
  assert.equal(show("x".repeat(1_000)).length, 78);
  let deep: unknown = 0;
  for (let level = 0; level < 100_000; level++) deep = [deep];
  assert.equal(show(deep), "something nested too deeply");
});
