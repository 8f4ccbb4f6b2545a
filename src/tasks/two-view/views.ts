/**
 * Two views of one picture, made out of it. One can be made to say the label louder than the other while a model trains:
 * by a colour that is tied to the label, or by less noise.
 */
import * as z from "zod";
import { ScenarioError } from "../../base/errors.ts";
import type { Draws, Rng } from "../../base/random.ts";
import type { RowData } from "../../data/examples.ts";
import { type ImageData, pixelsOf } from "../../data/images/labelled.ts";

export const viewsSchema = z.discriminatedUnion("type", [
  z
    .strictObject({
      type: z.literal("coloured"),
      tie: z
        .number()
        .min(0)
        .max(1)
        .default(1)
        .describe("share of the pictures in training that have the colour of their class; the others have any"),
    })
    .describe(
      "a is the grey picture, v the same in one colour: that of its class in training, any in what is held out",
    ),
  z
    .strictObject({
      type: z.literal("halves"),
      noise: z
        .tuple([z.number().min(0), z.number().min(0)])
        .default([0.2, 1])
        .describe("standard deviations of a's and of v's, where white is 1"),
    })
    .describe("a is the left half, v the right one, each with normal noise of its own"),
]);

export type Views = Readonly<z.output<typeof viewsSchema>>;

/** Numbers of the two views of such pictures. */
export function inputsOf(image: ImageData["image"], { type }: Views): readonly [a: number, v: number] {
  const { height, width, channels } = image;
  if (type === "coloured") {
    if (channels === 1) return [pixelsOf(image), 3 * pixelsOf(image)];
    throw new ScenarioError(`task.views colours grey pictures, and these have ${channels} channels`);
  }
  const left = Math.floor(width / 2);
  if (left > 0) return [height * left * channels, height * (width - left) * channels];
  throw new ScenarioError("task.views cuts pictures in halves, and these are one pixel wide");
}

/**
 * Examples whose input `x` is both views, one after the other. What a picture draws depends on the seed and its number.
 *
 * @param isHeldOut whether nobody trains on a picture
 */
export function twoViewsOf(
  images: ImageData,
  views: Views,
  isHeldOut: (example: number) => boolean,
  rng: Rng,
): RowData {
  const { image, columns, labels, examples, categoryNames } = images;
  const { values, scale } = columns.x!;
  const inputs = inputsOf(image, views);
  const [size, width] = [pixelsOf(image), inputs[0] + inputs[1]];
  const x = new Float32Array(new SharedArrayBuffer(4 * examples * width));
  const each = rng.at("two views of a picture");
  for (let e = 0; e < examples; e++) {
    const pixels = Float64Array.from(values.subarray(e * size, (e + 1) * size), (value) => scale * value);
    const draws = each.at(e);
    const row = x.subarray(e * width, (e + 1) * width);
    if (views.type === "halves") halve(pixels, image, views.noise, draws, row);
    else {
      const any = draws.below(categoryNames.length);
      const isTied = draws.uniform() < views.tie && !isHeldOut(e);
      colour(pixels, colourOf((isTied ? labels[e]! : any) / categoryNames.length), row);
    }
  }
  const { image: _, ...rest } = images;
  return { ...rest, columns: { x: { width, values: x, scale: 1 } } };
}

function colour(pixels: Float64Array, [red, green, blue]: readonly [number, number, number], row: Float32Array): void {
  row.set(pixels);
  for (const [i, pixel] of pixels.entries()) {
    row.set([red * pixel, green * pixel, blue * pixel], pixels.length + 3 * i);
  }
}

/** @internal Of full saturation and value. @param hue in [0, 1) */
export function colourOf(hue: number): [red: number, green: number, blue: number] {
  const part = (turn: number) => Math.min(1, Math.max(0, Math.abs(((6 * hue + turn) % 6) - 3) - 1));
  return [part(0), part(4), part(2)];
}

function halve(
  pixels: Float64Array,
  { width, channels }: ImageData["image"],
  [ofA, ofV]: readonly [number, number],
  draws: Draws,
  row: Float32Array,
): void {
  const left = Math.floor(width / 2);
  const halves = [0, 1].map((half) =>
    pixels.filter((_, i) => Math.floor(i / channels) % width < left === (half === 0)),
  );
  const noisy = halves.flatMap((half, at) => Array.from(half, (pixel) => pixel + [ofA, ofV][at]! * draws.normal()));
  row.set(noisy);
}
