/**
 * Images and labels in two IDX files, the format of MNIST, packed with gzip or not: two zero bytes, the type of a number (8, an
 * unsigned byte), how many sizes follow, the sizes as big-endian 32-bit integers, and the numbers.
 * Y. LeCun, C. Cortes, C. Burges, "The MNIST database".
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { InputError, messageOf } from "../../base/errors.ts";
import { otherKind } from "../../base/file-kind.ts";
import { largestBuffer } from "../../base/open.ts";
import { readInputBytes } from "../../base/text.ts";
import { formatBytes } from "../../base/units.ts";
import { type LabelledImages, requireSound } from "./labelled.ts";

/** @param labelsPath where the labels are; beside the images, under their name with "labels" for "images", unless given */
export function readIdx(path: string, labelsPath = labelsBeside(path)): LabelledImages {
  const images = readTensor(path);
  const labels = readTensor(labelsPath);
  const [count, height, width, channels = 1] = images.sizes as [number, number, number, number?];
  if (images.sizes.length < 3 || images.sizes.length > 4) {
    throw new InputError(
      `${path} has ${images.sizes.length} sizes, expected 3, [images, height, width], or channels after them`,
    );
  }
  if (labels.sizes.length !== 1) {
    throw new InputError(`${labelsPath} has ${labels.sizes.length} sizes, expected 1: a label for each image`);
  }
  if (labels.sizes[0] !== count) {
    throw new InputError(
      `${labelsPath} has ${labels.sizes[0]} labels, expected ${count}: as many as ${path} has images`,
    );
  }
  const most = labels.numbers.reduce((largest, label) => Math.max(largest, label), 1);
  const read: LabelledImages = {
    ...{ height, width, channels, brightest: 255, pixels: images.numbers, labels: labels.numbers },
    classes: Array.from({ length: most + 1 }, (_, label) => String(label)),
    digest: createHash("sha256").update(images.stored).update(labels.stored).digest("hex"),
  };
  return requireSound(read, path);
}

/** `train-images-idx3-ubyte.gz` has `train-labels-idx1-ubyte.gz` beside it. */
function labelsBeside(path: string): string {
  const name = basename(path).replace("images", "labels").replace("idx3", "idx1");
  const beside = join(dirname(path), name);
  if (name !== basename(path) && existsSync(beside)) return beside;
  const why = name === basename(path) ? `the name of ${path} has no "images" in it` : `there is no ${beside}`;
  throw new InputError(`${why}; expected the file of the labels: images(path, { labels })`);
}

interface Stored {
  readonly sizes: readonly number[];
  readonly numbers: Uint8Array;
  /** The file as it lies on disk. */
  readonly stored: Uint8Array;
}

function readTensor(path: string): Stored {
  const stored = readInputBytes(path);
  const bytes = unpacked(path, stored);
  const [first, second, type, dimensions = 0] = bytes;
  const start = 4 + 4 * dimensions;
  if (first !== 0 || second !== 0 || type !== 8 || dimensions === 0 || bytes.length < start) {
    const kind = otherKind(bytes);
    if (kind !== null) throw new InputError(`${path} is ${kind}`);
    const got = bytes.length === 0 ? "an empty file" : `one that begins with ${bytes.subarray(0, 4).toString("hex")}`;
    throw new InputError(`${path}: expected IDX, which begins with 000008, or the .json of a pair, got ${got}`);
  }
  const sizes = Array.from({ length: dimensions }, (_, at) => bytes.readUInt32BE(4 + 4 * at));
  const count = sizes.reduce((product, size) => product * size, 1);
  if (count === 0) throw new InputError(`${path} has the sizes ${sizes.join(" x ")}, expected none of them to be 0`);
  if (bytes.length !== start + count) {
    const got = `${bytes.length - start} after its head`;
    throw new InputError(`${path} has the sizes ${sizes.join(" x ")}, expected ${count} bytes, got ${got}`);
  }
  return { sizes, numbers: bytes.subarray(start), stored };
}

function unpacked(path: string, stored: Buffer): Buffer {
  if (stored[0] !== 0x1f || stored[1] !== 0x8b) return stored;
  try {
    return gunzipSync(stored, { maxOutputLength: largestBuffer });
  } catch (cause) {
    const why = messageOf(cause);
    const what = why.includes("larger than") ? `more than ${formatBytes(largestBuffer)} unpacked` : `not gzip: ${why}`;
    throw new InputError(`${path} is ${what}`, { cause });
  }
}
