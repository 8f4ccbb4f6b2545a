/** Where images come from: the digits that come with the program, or files of the user's own. */
import { extname, join } from "node:path";
import * as z from "zod";
import { ScenarioError } from "../../base/errors.ts";
import { given } from "../../base/given.ts";
import { packageRoot } from "../../base/places.ts";
import { Rng } from "../../base/random.ts";
import { readIdx } from "./idx.ts";
import { hashesOf, type ImageData, imageData } from "./labelled.ts";
import { readPair } from "./pair.ts";
import { generatedPictures } from "./pictures.ts";
import { mostShift, repeated, viewsOf } from "./views.ts";

const seed = z.int().min(0).optional().describe("of chance in them; the scenario's unless given");

export const imageSourceSchema = z.discriminatedUnion("type", [
  z
    .strictObject({
      type: z.literal("digits"),
      canvas: z
        .int()
        .min(8)
        .max(64)
        .default(8)
        .describe("side of the canvas that each digit is put on, in pixels; 8 is the digit itself"),
      shift: z.int().min(0).default(0).describe("most pixels by which a digit stands off the middle, each way"),
      views: z
        .int()
        .min(1)
        .max(64)
        .optional()
        .describe(
          "copies of each digit, each shifted in its own way; 8 where digits are shifted, 1 where they are not",
        ),
      seed,
    })
    .describe("1,797 handwritten digits that come with the program"),
  z
    .strictObject({
      type: z.literal("pictures"),
      examples: z.int().min(1).max(100_000).describe("how many are generated"),
      side: z.int().min(4).max(256).default(32).describe("pixels of a side"),
      seed,
    })
    .describe("generated bars and blobs, of one class: something to restore"),
  z
    .strictObject({
      type: z.literal("images"),
      path: z
        .string()
        .min(1)
        .optional()
        .describe("the .json of a pair, or an IDX file of images; the file of `--data` unless given"),
      labels: z
        .string()
        .min(1)
        .optional()
        .describe("of an IDX file, the file of the labels; the one beside the images unless given"),
    })
    .describe("images of your own"),
]);

export type ImageSource = Readonly<z.output<typeof imageSourceSchema>>;

export const isImageSource = (source: { readonly type: string }): source is ImageSource =>
  source.type === "digits" || source.type === "images" || source.type === "pictures";

/** 1,797 handwritten digits, 8 x 8: `assets/data/README.md` says whose. `canvas` and `shift` make them harder. */
export const digits = (
  options: { canvas?: number; shift?: number; views?: number; seed?: number } = {},
): ImageSource => ({
  type: "digits",
  canvas: 8,
  shift: 0,
  ...options,
});

/** Generated bars and blobs on a slope of greys, of one class: something to restore. */
export const pictures = (options: { examples: number; side?: number; seed?: number }): ImageSource => ({
  type: "pictures",
  side: 32,
  ...options,
});

/** Somebody's images: the description of a pair, or IDX as MNIST has it, gzipped or not; docs/data.md says what is read. */
export const images = (path?: string, options: { labels?: string } = {}): ImageSource => ({
  type: "images",
  ...given({ path }),
  ...options,
});

/** @param path `--data`: stands in for the path of an `images` source. @param seed for sources without one of their own */
export function loadImages(
  source: ImageSource,
  { seed, path }: { readonly seed: number; readonly path?: string },
): ImageData {
  if (source.type === "images") {
    const from = path ?? source.path;
    if (from === undefined) {
      throw new ScenarioError("data.source is images() without a path; expected images(path) or --data <file>");
    }
    const read = extname(from) === ".json" ? readPair(from) : readIdx(from, source.labels);
    return imageData(read, hashesOf(read));
  }
  if (source.type === "pictures") {
    const made = generatedPictures(source.examples, source.side, new Rng(source.seed ?? seed));
    return imageData(made, hashesOf(made));
  }
  const { canvas, shift, views = shift > 0 ? 8 : 1 } = source;
  const read = readPair(join(packageRoot(), "assets", "data", "digits-8x8.json"));
  const most = mostShift(read, canvas);
  if (shift > most) {
    const what = `expected at most ${most}: digits are 8 x 8, the canvas is ${canvas} x ${canvas}`;
    throw new ScenarioError(`data.source.shift is ${shift}, ${what}`);
  }
  const seen = viewsOf(read, { canvas, shift, views }, new Rng(source.seed ?? seed));
  return imageData(seen, repeated(hashesOf(read), views));
}
