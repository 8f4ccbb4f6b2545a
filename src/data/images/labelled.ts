/** Images with labels, as they are read and as batches are made of them. */
import { createHash } from "node:crypto";
import { InputError } from "../../base/errors.ts";
import { type RowData, shared } from "../examples.ts";

/** Height and width in pixels; channels last. */
export interface ImageShape {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

/** As files have them: image after image, row by row. */
export interface LabelledImages extends ImageShape {
  /** `[images · height · width · channels]` */
  readonly pixels: Uint8Array;
  /** The value of a pixel that a program is fed as 1. */
  readonly brightest: number;
  /** Row of `classes`, `[images]`. */
  readonly labels: Uint8Array;
  readonly classes: readonly string[];
  /** SHA-256 of what was read. */
  readonly digest: string;
}

export interface ImageData extends RowData {
  readonly image: ImageShape;
}

export const pixelsOf = ({ height, width, channels }: ImageShape): number => height * width * channels;

/**
 * Examples with their pixels as the input `x`, in shared memory.
 *
 * @param hashes where each image lies in [0, 1): those with one hash stay on one side of the held-out split
 */
export function imageData(images: LabelledImages, hashes: Float64Array): ImageData {
  const { height, width, channels, classes, brightest, digest } = images;
  return {
    examples: images.labels.length,
    columns: { x: { width: pixelsOf(images), values: shared(Uint8Array, images.pixels), scale: 1 / brightest } },
    labels: shared(Int32Array, images.labels),
    category: shared(Uint16Array, images.labels),
    categoryNames: classes,
    questionHash: shared(Float64Array, hashes),
    digest,
    notes: [],
    image: { height, width, channels },
  };
}

/** Where each image lies in [0, 1): a hash of its pixels, a multiple of 2⁻⁴⁸. */
export function hashesOf(images: LabelledImages): Float64Array {
  const size = pixelsOf(images);
  return Float64Array.from(images.labels, (_, image) => {
    const own = images.pixels.subarray(image * size, (image + 1) * size);
    return createHash("sha256").update("held-out ").update(own).digest().readUIntBE(0, 6) / 2 ** 48;
  });
}

/** @throws InputError for a label without a class, or a pixel that is brighter than white. @param where opens the message */
export function requireSound(images: LabelledImages, where: string): LabelledImages {
  const { labels, classes, pixels, brightest } = images;
  const stranger = labels.findIndex((label) => label >= classes.length);
  if (stranger >= 0) {
    throw new InputError(
      `${where}: label ${labels[stranger]} of image ${stranger}, expected 0 to ${classes.length - 1}`,
    );
  }
  const glaring = pixels.findIndex((pixel) => pixel > brightest);
  if (glaring >= 0) {
    const image = Math.floor(glaring / pixelsOf(images));
    throw new InputError(`${where}: a pixel of image ${image} is ${pixels[glaring]}, expected 0 to ${brightest}`);
  }
  return images;
}
