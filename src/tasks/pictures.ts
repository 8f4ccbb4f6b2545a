/** Pictures that a run leaves in `pictures.json`, for its report: what was mistaken, or made, beside what was there. */
import * as z from "zod";

/** Larger ones are no illustration any more. */
const side = z.int().min(1).max(512);

const pictureSchema = z
  .object({
    height: side,
    width: side,
    /** Grey, or red, green and blue. */
    channels: z.literal([1, 3]),
    /** A byte for each number, row by row, channels last, in Base64. */
    pixels: z.string().max(4 * 2 ** 20),
  })
  .refine(
    ({ height, width, channels, pixels }) => Buffer.from(pixels, "base64").length === height * width * channels,
    "a picture with height x width x channels bytes",
  );

/** Pictures that belong together, and what to say of them. */
const stripSchema = z.object({ caption: z.string().max(200), pictures: z.array(pictureSchema).min(1).max(8) });

export const picturesSchema = z.array(
  z.object({ title: z.string().max(200), caption: z.string().max(2_000), strips: z.array(stripSchema).max(200) }),
);

export type Picture = Readonly<z.output<typeof pictureSchema>>;
export type PictureSheet = Readonly<z.output<typeof picturesSchema>[number]>;

/**
 * Three channels are colours; of any other number the mean is shown.
 *
 * @param values `[height · width · channels]`, which `scale` brings to 0 for black and 1 for white; what lies outside is cut off
 */
export function pictureOf(
  values: ArrayLike<number>,
  { height, width, channels }: { readonly height: number; readonly width: number; readonly channels: number },
  scale = 1,
): Picture {
  const kept = channels === 3 ? 3 : 1;
  const each = channels / kept;
  const bytes = Uint8ClampedArray.from({ length: height * width * kept }, (_, at) => {
    let sum = 0;
    for (let i = at * each; i < (at + 1) * each; i++) sum += values[i]!;
    return (255 * scale * sum) / each;
  });
  return { height, width, channels: kept, pixels: Buffer.from(bytes).toString("base64") };
}
