/** What two views of a picture hold. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { imageData } from "../../../src/data/images/labelled.ts";
import { colourOf, inputsOf, twoViewsOf, viewsSchema } from "../../../src/tasks/two-view/views.ts";

/** Pictures of 2 x 3 pixels, brightest 10. */
const pictures = (count: number, channels = 1) => {
  const size = 6 * channels;
  return imageData(
    {
      ...{ height: 2, width: 3, channels, brightest: 10, digest: "x" },
      pixels: Uint8Array.from({ length: count * size }, (_, i) => (7 * i) % 11),
      labels: Uint8Array.from({ length: count }, (_, i) => i % 4),
      classes: ["0", "1", "2", "3"],
    },
    new Float64Array(count),
  );
};
const rng = new Rng(5);
const rowsOf = ({ columns, examples }: ReturnType<typeof twoViewsOf>) => {
  const { width, values } = columns.x!;
  return Array.from({ length: examples }, (_, e) => Array.from(values.subarray(e * width, (e + 1) * width)));
};

test("the coloured view is the grey one in a colour: its class's in training, any in what is held out", () => {
  const count = 4_000;
  const data = twoViewsOf(pictures(count), viewsSchema.parse({ type: "coloured" }), (e) => e >= count / 2, rng);
  const seen = rowsOf(data).map((row, e) => {
    const grey = row.slice(0, 6);
    for (const [i, pixel] of grey.entries()) assert.equal(pixel, Math.fround(((7 * (6 * e + i)) % 11) / 10));
    const bright = grey.indexOf(Math.max(...grey));
    const rgb = row
      .slice(6 + 3 * bright, 9 + 3 * bright)
      .map((part) => Math.round((1000 * part) / grey[bright]!) / 1000);
    const colour = [0, 1, 2, 3].findIndex((y) => colourOf(y / 4).every((part, i) => Math.abs(part - rgb[i]!) < 1e-3));
    for (const [i, pixel] of grey.entries()) {
      for (const part of [0, 1, 2])
        assert.ok(Math.abs(row[6 + 3 * i + part]! - pixel * colourOf(colour / 4)[part]!) < 1e-6);
    }
    return colour;
  });
  assert.ok(seen.slice(0, count / 2).every((colour, e) => colour === e % 4));
  // Of 500 pictures of a class a quarter in each colour: 125, with a deviation of 9.7.
  for (const y of [0, 1, 2, 3]) {
    for (const colour of [0, 1, 2, 3]) {
      const times = seen.filter((found, e) => e >= count / 2 && e % 4 === y && found === colour).length;
      assert.ok(Math.abs(times - 125) < 5 * 9.7, `class ${y} in colour ${colour}: ${times} times`);
    }
  }
});

test("a tie of less than one leaves that many with the colour of their class, and those that have it by chance", () => {
  const data = twoViewsOf(pictures(4_000), { type: "coloured", tie: 0.6 }, () => false, rng);
  const tied = rowsOf(data).filter((row, e) => {
    const bright = row.slice(0, 6).indexOf(Math.max(...row.slice(0, 6)));
    return colourOf((e % 4) / 4).every((part, i) => Math.abs(row[6 + 3 * bright + i]! - part * row[bright]!) < 1e-6);
  });
  // 0.6 + 0.4/4 of 4,000, with a deviation of 29.
  assert.ok(Math.abs(tied.length - 2_800) < 5 * 29, `${tied.length}`);
});

test("halves are the columns left and right of the middle, each with noise of its own", () => {
  const quiet = rowsOf(twoViewsOf(pictures(2, 2), { type: "halves", noise: [0, 0] }, () => false, rng));
  // Two rows of three pixels with two channels; the left half is one pixel wide.
  const pixel = (i: number) => Math.fround(((7 * i) % 11) / 10);
  assert.deepEqual(
    quiet[1],
    [0, 1, 6, 7, 2, 3, 4, 5, 8, 9, 10, 11].map((i) => pixel(12 + i)),
  );
  const count = 3_000;
  const noisy = rowsOf(twoViewsOf(pictures(count), { type: "halves", noise: [0.2, 1.5] }, () => false, rng));
  const still = rowsOf(twoViewsOf(pictures(count), { type: "halves", noise: [0, 0] }, () => false, rng));
  const deviation = (from: number, until: number) => {
    const squares = noisy.flatMap((row, e) =>
      row.slice(from, until).map((value, i) => (value - still[e]![from + i]!) ** 2),
    );
    return Math.sqrt(squares.reduce((a, b) => a + b) / squares.length);
  };
  // 6,000 and 12,000 squares: within 5 %.
  assert.ok(Math.abs(deviation(0, 2) / 0.2 - 1) < 0.05 && Math.abs(deviation(2, 6) / 1.5 - 1) < 0.05);
});

test("what a picture looks like depends on the seed and its number alone", () => {
  const views = viewsSchema.parse({ type: "halves" });
  const [few, many] = [3, 9].map((count) => rowsOf(twoViewsOf(pictures(count), views, () => false, rng)));
  assert.deepEqual(many!.slice(0, 3), few);
  assert.notDeepEqual(rowsOf(twoViewsOf(pictures(3), views, () => false, new Rng(6))), few);
});

test("colours of a circle begin with red, and pictures that cannot be cut or coloured are refused", () => {
  assert.deepEqual(
    [0, 1 / 3, 2 / 3].map(colourOf).map((rgb) => rgb.map(Math.round)),
    [
      [1, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
    ],
  );
  assert.deepEqual(inputsOf({ height: 8, width: 8, channels: 1 }, { type: "coloured", tie: 1 }), [64, 192]);
  assert.deepEqual(inputsOf({ height: 8, width: 9, channels: 1 }, { type: "halves", noise: [0, 0] }), [32, 40]);
  assert.throws(() => inputsOf({ height: 8, width: 8, channels: 3 }, { type: "coloured", tie: 1 }), /have 3 channels/);
  assert.throws(
    () => inputsOf({ height: 8, width: 1, channels: 1 }, { type: "halves", noise: [0, 0] }),
    /one pixel wide/,
  );
});
