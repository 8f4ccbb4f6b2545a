/** Colours, labels and environments of images, and which of them are evaluated. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { digits, loadImages } from "../../../src/data/images/source.ts";
import { split } from "../../../src/data/split.ts";
import { coloured } from "../../../src/tasks/coloured/data.ts";

const images = loadImages(digits(), { seed: 1 });
const options = {
  environments: [
    { flip: 0.1, share: 3 },
    { flip: 0.7, share: 1 },
  ],
  reversed: 0.9,
  heldOut: 0.2,
  noise: 0.25,
};
const made = coloured(images, options, new Rng(5));
const all = [...Array(images.examples).keys()];
const x = made.columns.x!;

/** 1 if the digit lies in the second channel. */
const colourOf = (e: number) => {
  const own = x.values.subarray(e * x.width, (e + 1) * x.width);
  return Number(own.some((value, i) => i % 2 === 1 && value > 0));
};

test("shapes are the images', in one of two colours", () => {
  assert.equal(x.width, 128);
  for (const e of all) {
    const own = x.values.subarray(e * 128, (e + 1) * 128);
    const grey = images.columns.x!.values.subarray(e * 64, (e + 1) * 64);
    assert.deepEqual(
      own.filter((_, i) => i % 2 === colourOf(e)),
      grey,
    );
    assert.ok(own.every((value, i) => i % 2 === colourOf(e) || value === 0));
  }
});

test("labels are wrong as often as asked, and colours contradict them as often as each environment says", () => {
  const rate = (some: readonly number[], is: (e: number) => boolean) => some.filter(is).length / some.length;
  const upper = (e: number) => Number(images.labels[e]! >= 5);
  // Three standard deviations of a share.
  const near = (got: number, p: number, n: number) =>
    assert.ok(Math.abs(got - p) < 3 * Math.sqrt((p * (1 - p)) / n), `${got} of ${n}, expected about ${p}`);
  near(
    rate(all, (e) => made.labels[e] !== upper(e)),
    0.25,
    all.length,
  );
  for (const [category, flip] of [0.1, 0.7, 0.9].entries()) {
    const own = all.filter((e) => made.category[e] === category);
    near(
      rate(own, (e) => made.labels[e] !== colourOf(e)),
      flip,
      own.length,
    );
  }
  const sizes = [0, 1, 2].map((category) => all.filter((e) => made.category[e] === category).length);
  assert.deepEqual(sizes, [1_079, 359, 359]);
});

test("what is evaluated is the reversed environment, whatever share a split asks for", () => {
  for (const heldOut of [0.05, 0.4]) {
    const { train, heldOut: aside } = split(made, { heldOut, evaluationExamples: 10_000 });
    assert.ok(aside.every((e) => made.category[e] === 2));
    assert.ok(train.every((e) => made.category[e] !== 2));
    assert.equal(aside.length, 359);
  }
});

test("views of one digit stay together, and the same seed gives the same colours", () => {
  const views = loadImages(digits({ canvas: 10, shift: 1 }), { seed: 1 });
  const several = coloured(views, options, new Rng(5));
  const environments = new Map<number, number>();
  for (let e = 0; e < several.examples; e++) {
    const hash = several.questionHash[e]!;
    const first = environments.get(hash) ?? several.category[e]!;
    environments.set(hash, first);
    assert.equal(several.category[e], first);
  }
  assert.deepEqual(coloured(images, options, new Rng(5)), made);
  assert.notDeepEqual(coloured(images, options, new Rng(6)).labels, made.labels);
});
