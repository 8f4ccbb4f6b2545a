/** Images from files: what is read, and what is refused and how. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import type { ImageData } from "../../../src/data/images/labelled.ts";
import { digits, images, loadImages } from "../../../src/data/images/source.ts";
import { split } from "../../../src/data/split.ts";
import { temporaryFolder } from "../../support/folders.ts";

const load = (path: string, labels?: string): ImageData =>
  loadImages(images(path, labels === undefined ? {} : { labels }), { seed: 1 });

/** Pixels of an example as they were read. */
const pixelsOf = ({ columns }: ImageData, example: number): number[] => {
  const { width, values } = columns.x!;
  return [...values.subarray(example * width, (example + 1) * width)];
};

test("the digits that come with the program are scikit-learn's", () => {
  const data = loadImages(digits(), { seed: 1 });
  assert.equal(data.examples, 1797);
  assert.deepEqual(data.image, { height: 8, width: 8, channels: 1 });
  const perClass = data.categoryNames.map((_, label) => data.labels.filter((other) => other === label).length);
  assert.deepEqual(perClass, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
  // load_digits().data[0], which is a 0.
  const first = [
    0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0, 0, 3, 15, 2, 0, 11, 8, 0, 0, 4, 12, 0, 0, 8, 8, 0,
  ];
  assert.deepEqual(pixelsOf(data, 0).slice(0, 32), first);
  assert.equal(data.labels[0], 0);
  assert.equal(data.columns.x!.scale, 1 / 16);
});

test("360 digits can be held out, and they stay what they are", () => {
  const data = loadImages(digits(), { seed: 1 });
  const { heldOut, train } = split(data, { heldOut: 360, evaluationExamples: 360 });
  assert.equal(heldOut.length, 360);
  assert.equal(train.length, 1437);
  assert.deepEqual([...heldOut.slice(0, 4)], [...split(data, { heldOut: 360 }).heldOut.slice(0, 4)]);
});

test("views of a digit lie anywhere within the shift, depend on the seed, and stay on one side of the split", () => {
  const harder = digits({ canvas: 12, shift: 2 });
  const data = loadImages(harder, { seed: 1 });
  assert.equal(data.examples, 8 * 1797);
  const plain = loadImages(digits(), { seed: 1 });
  const corners = new Set<string>();
  for (let example = 0; example < 800; example++) {
    const view = pixelsOf(data, example);
    const digit = pixelsOf(plain, Math.floor(example / 8));
    const found = [0, 1, 2, 3, 4]
      .flatMap((top) => [0, 1, 2, 3, 4].map((left) => ({ top, left })))
      .filter(({ top, left }) => {
        const canvas = new Array<number>(144).fill(0);
        for (const [at, pixel] of digit.entries()) canvas[(top + Math.floor(at / 8)) * 12 + left + (at % 8)] = pixel;
        return canvas.every((pixel, at) => pixel === view[at]);
      });
    assert.ok(found.length > 0, `view ${example} is its digit, shifted`);
    if (found.length === 1) corners.add(`${found[0]!.top},${found[0]!.left}`);
    assert.equal(data.labels[example], plain.labels[Math.floor(example / 8)]);
  }
  assert.equal(corners.size, 25);
  const { heldOut } = split(data, { heldOut: 0.2 });
  const inside = new Set(heldOut);
  for (const example of heldOut) {
    const first = example - (example % 8);
    for (let view = first; view < first + 8; view++) assert.ok(inside.has(view));
  }
  assert.deepEqual(loadImages(harder, { seed: 1 }).columns, data.columns);
  assert.notDeepEqual(loadImages(harder, { seed: 2 }).columns, data.columns);
  assert.deepEqual(loadImages({ ...harder, seed: 1 } as typeof harder, { seed: 2 }).columns, data.columns);
  const off = () => loadImages(digits({ canvas: 12, shift: 3 }), { seed: 1 });
  assert.throws(off, {
    message: "data.source.shift is 3, expected at most 2: digits are 8 x 8, the canvas is 12 x 12",
  });
});

/** Two images of 2 x 1 pixels with two channels, in a pair of files of which some things may be said otherwise. */
function pair(folder: string, changes: Record<string, unknown> = {}, bytes = [1, 2, 3, 4, 5, 6, 7, 8, 0, 1]): string {
  const binary = Uint8Array.from(bytes);
  writeFileSync(join(folder, "two.bin"), binary);
  const said = {
    ...{ count: 2, shape: [2, 1, 2], dtype: "uint8", layout: "row-major", range: [0, 8] },
    images: { file: "two.bin", offset: 0, bytes: 8 },
    labels: { file: "two.bin", offset: 8, bytes: 2 },
    classes: ["cat", "dog"],
    sha256: createHash("sha256").update(binary).digest("hex"),
    licence: "none of what else is said is read",
    ...changes,
  };
  writeFileSync(join(folder, "two.json"), JSON.stringify(said));
  return join(folder, "two.json");
}

test("a pair of files is read by its description", (context) => {
  const data = load(pair(temporaryFolder(context)));
  assert.deepEqual(data.image, { height: 2, width: 1, channels: 2 });
  assert.deepEqual(pixelsOf(data, 1), [5, 6, 7, 8]);
  assert.equal(data.columns.x!.scale, 1 / 8);
  assert.deepEqual([...data.labels], [0, 1]);
  assert.deepEqual(data.categoryNames, ["cat", "dog"]);
  assert.match(data.digest!, /^[0-9a-f]{64}$/);
});

test("a description that does not fit its file is refused with both", (context) => {
  const folder = temporaryFolder(context);
  const refused = (changes: Record<string, unknown>, message: RegExp, bytes?: number[]) =>
    assert.throws(() => load(pair(folder, changes, bytes)), { name: "InputError", message });
  refused({ count: 3 }, /two\.json: images\.bytes is 8, expected 12: 3 images of 2 x 1 x 2$/);
  refused({ labels: { file: "two.bin", offset: 8, bytes: 1 } }, /labels\.bytes is 1, expected 2: one for each image$/);
  refused({ labels: { file: "two.bin", offset: 9, bytes: 2 } }, /labels end at byte 11, and .*two\.bin has 10$/);
  refused({ labels: { file: "one.bin", offset: 0, bytes: 2 } }, /labels\.file is one\.bin, expected two\.bin/);
  refused(
    { images: { file: "../two.bin", offset: 0, bytes: 8 } },
    /images\.file is "\.\.\/two\.bin", expected the name of a/,
  );
  refused({ shape: [2] }, /shape is \[2\], expected \[height, width\] or/);
  refused({ dtype: "float32" }, /dtype is "float32", expected "uint8"/);
  refused({ classes: ["cat"] }, /classes is \["cat"\], expected at least 2/);
  refused(
    { sha256: "0".repeat(64) },
    /two\.bin has the SHA-256 [0-9a-f]{64}, and .*two\.json says 0{64}: one of them was changed/,
  );
  refused({}, /two\.bin: label 2 of image 1, expected 0 to 1$/, [1, 2, 3, 4, 5, 6, 7, 8, 0, 2]);
  refused({}, /two\.bin: a pixel of image 1 is 9, expected 0 to 8$/, [1, 2, 3, 4, 5, 6, 7, 9, 0, 1]);
  const path = pair(folder);
  writeFileSync(join(folder, "two.bin"), "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
  assert.throws(() => load(path), { message: /two\.bin is a Git LFS pointer in place of the file/ });
  writeFileSync(path, "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
  assert.throws(() => load(path), { message: /two\.json is a Git LFS pointer in place of the file/ });
  assert.throws(() => load(join(folder, "none.json")), { name: "InputError", message: /cannot read .*none\.json/ });
});

/** Numbers in IDX. */
const idx = (sizes: readonly number[], numbers: readonly number[], type = 8): Buffer => {
  const head = Buffer.alloc(4 + 4 * sizes.length);
  head.set([0, 0, type, sizes.length]);
  for (const [at, size] of sizes.entries()) head.writeUInt32BE(size, 4 + 4 * at);
  return Buffer.concat([head, Uint8Array.from(numbers)]);
};

const twoImages = idx([2, 1, 3], [0, 128, 255, 1, 2, 3]);
const twoLabels = idx([2], [4, 0]);

test("IDX is read as MNIST has it, packed or not, with the labels beside it or named", (context) => {
  const folder = temporaryFolder(context);
  const at = (name: string, bytes: Uint8Array) => {
    writeFileSync(join(folder, name), bytes);
    return join(folder, name);
  };
  at("train-labels-idx1-ubyte", twoLabels);
  const plain = load(at("train-images-idx3-ubyte", twoImages));
  assert.deepEqual(plain.image, { height: 1, width: 3, channels: 1 });
  assert.deepEqual(pixelsOf(plain, 0), [0, 128, 255]);
  assert.equal(plain.columns.x!.scale, 1 / 255);
  assert.deepEqual([...plain.labels], [4, 0]);
  assert.deepEqual(plain.categoryNames, ["0", "1", "2", "3", "4"]);
  at("train-labels-idx1-ubyte.gz", gzipSync(twoLabels));
  const packed = load(at("train-images-idx3-ubyte.gz", gzipSync(twoImages)));
  assert.deepEqual({ ...packed, digest: plain.digest }, plain);
  const named = load(at("pictures", twoImages), join(folder, "train-labels-idx1-ubyte"));
  assert.deepEqual(named, plain);
  const inColour = load(at("colour", idx([1, 1, 1, 3], [1, 2, 3])), at("colours", idx([1], [1])));
  assert.deepEqual(inColour.image, { height: 1, width: 1, channels: 3 });
});

test("IDX that is none, or does not fit its labels, is refused with what it has", (context) => {
  const folder = temporaryFolder(context);
  const at = (name: string, bytes: Uint8Array | string) => {
    writeFileSync(join(folder, name), bytes);
    return join(folder, name);
  };
  const labels = at("labels", twoLabels);
  const refused = (bytes: Uint8Array | string, message: RegExp, beside = labels) =>
    assert.throws(() => load(at("images-file", bytes), beside), { name: "InputError", message });
  refused("", /images-file: expected IDX, which begins with 000008, or the \.json of a pair, got an empty file/);
  refused("\x00\x00\x0dzzzzz", /expected IDX.* got one that begins with 00000d7a/);
  refused("<html><body>Not found", /images-file is an HTML or XML page/);
  refused("version https://git-lfs.github.com/spec/v1\n", /images-file is a Git LFS pointer/);
  refused("PK\x03\x04xxxx", /images-file is a ZIP archive/);
  refused(Uint8Array.of(0x1f, 0x8b, 1, 2, 3), /images-file is not gzip: /);
  refused(idx([2, 1, 3], [1]), /images-file has the sizes 2 x 1 x 3, expected 6 bytes, got 1 after its head/);
  refused(idx([0, 1, 3], []), /has the sizes 0 x 1 x 3, expected none of them to be 0/);
  refused(twoLabels, /images-file has 1 sizes, expected 3, \[images, height, width\]/);
  refused(twoImages, /images-file has 3 sizes, expected 1: a label for each image/, join(folder, "images-file"));
  refused(
    twoImages,
    /three has 3 labels, expected 2: as many as .*images-file has images/,
    at("three", idx([3], [0, 1, 2])),
  );
  const lonely = at("train-images-idx3-ubyte", twoImages);
  assert.throws(() => load(lonely), {
    message: /there is no .*train-labels-idx1-ubyte; expected the file of the labels/,
  });
  const odd = at("pictures", twoImages);
  assert.throws(() => load(odd), {
    message: /pictures has no "images" in it; expected the file of the labels: images\(path, /,
  });
  assert.throws(() => loadImages(images(), { seed: 1 }), {
    name: "ScenarioError",
    message: /images\(\) without a path/,
  });
});
