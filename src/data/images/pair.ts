/**
 * Images in two files: bytes, and beside them a description in JSON that says what lies where.
 *
 *   { "count": 1797, "shape": [8, 8], "dtype": "uint8", "layout": "row-major", "range": [0, 16],
 *     "images": { "file": "digits-8x8.bin", "offset": 0, "bytes": 115008 },
 *     "labels": { "file": "digits-8x8.bin", "offset": 115008, "bytes": 1797 },
 *     "classes": ["0", …], "sha256": "87ff…" }
 *
 * A shape of three sizes has channels last. Whatever else the description says is not read.
 */
import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import * as z from "zod";
import { sha256 } from "../../base/digest.ts";
import { InputError } from "../../base/errors.ts";
import { otherKind } from "../../base/file-kind.ts";
import { parseJson } from "../../base/json.ts";
import { largestBuffer } from "../../base/open.ts";
import { parseInput } from "../../base/problem.ts";
import { readInput, readInputBytes } from "../../base/text.ts";
import { type LabelledImages, pixelsOf, requireSound } from "./labelled.ts";

const size = z.int().min(1).max(largestBuffer);
/** No path: a description reads nothing but the file beside it. */
const fileName = z
  .string()
  .refine((name) => name === basename(name) && name !== "", "the name of a file beside this one");
const stretch = z.object({ file: fileName, offset: z.int().min(0), bytes: size });

const description = z.object({
  count: size,
  shape: z
    .array(size)
    .refine(({ length }) => length === 2 || length === 3, "[height, width] or [height, width, channels]"),
  dtype: z.literal("uint8"),
  layout: z.literal("row-major"),
  /** Of a pixel; black, and white. */
  range: z.tuple([z.literal(0), z.int().min(1).max(255)]).default([0, 255]),
  images: stretch,
  labels: stretch,
  classes: z.array(z.string()).min(2).max(256),
  sha256: z.string().regex(/^[0-9a-f]{64}$/, "64 hexadecimal digits"),
});
type Description = z.output<typeof description>;

/** A description has some dozens of lines. */
const longestDescription = 2 ** 20;

/** @param path of the description */
export function readPair(path: string): LabelledImages {
  const text = readInput(path, longestDescription);
  const said = parseInput(path, description, parseJson(text, path));
  const { images, labels, classes, range, shape } = said;
  const [height, width, channels = 1] = shape as [number, number, number?];
  requireSizes(path, said, pixelsOf({ height, width, channels }));
  const binary = join(dirname(path), images.file);
  const bytes = readInputBytes(binary);
  requireDigest(path, binary, bytes, said.sha256);
  const part = ({ offset, bytes: length }: z.output<typeof stretch>, name: string): Uint8Array => {
    if (offset + length <= bytes.length) return bytes.subarray(offset, offset + length);
    throw new InputError(`${path}: ${name} end at byte ${offset + length}, and ${binary} has ${bytes.length}`);
  };
  const read: LabelledImages = {
    ...{ height, width, channels, classes, brightest: range[1] },
    pixels: part(images, "images"),
    labels: part(labels, "labels"),
    digest: createHash("sha256").update(text).update(bytes).digest("hex"),
  };
  return requireSound(read, binary);
}

function requireSizes(path: string, { count, shape, images, labels }: Description, pixels: number): void {
  const differ = (field: string, got: number, wanted: number, why: string) =>
    new InputError(`${path}: ${field} is ${got}, expected ${wanted}: ${why}`);
  if (images.bytes !== count * pixels)
    throw differ("images.bytes", images.bytes, count * pixels, `${count} images of ${shape.join(" x ")}`);
  if (labels.bytes !== count) throw differ("labels.bytes", labels.bytes, count, "one for each image");
  if (labels.file !== images.file)
    throw new InputError(`${path}: labels.file is ${labels.file}, expected ${images.file}: one file holds both`);
}

function requireDigest(path: string, binary: string, bytes: Uint8Array, wanted: string): void {
  const digest = sha256(bytes);
  if (digest === wanted) return;
  const kind = otherKind(bytes);
  if (kind !== null) throw new InputError(`${binary} is ${kind}`);
  throw new InputError(`${binary} has the SHA-256 ${digest}, and ${path} says ${wanted}: one of them was changed`);
}
