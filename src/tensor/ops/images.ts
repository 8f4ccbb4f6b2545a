/**
 * Operations on images, `[images, height · width, channels]`: places row by row, channels last. Several clients' images lie
 * client after client.
 *
 * A convolution is a gather and a matrix product. What changes products, such as LoRA, changes convolutions as well, and
 * their backward pass scatters nothing: each place gathers the patches that show it.
 */
import { invariant } from "../../base/errors.ts";
import { apply } from "../graph/graph.ts";
import type { Attributes, Node, Op, Tensor, TensorType } from "../graph/ir.ts";
import { shapeError, sizeOf } from "../graph/shape.ts";
import { reduceMean } from "./arithmetic.ts";
import { reshape, transpose } from "./layout.ts";
import { perClient } from "./matrix.ts";

export interface Grid {
  readonly height: number;
  readonly width: number;
}

/** A square window that moves over a grid, and may stand out `padding` places on each side, where there are zeros. */
export interface Window extends Grid {
  readonly kernel: number;
  /** 1 unless given. */
  readonly stride?: number;
  /** 0 unless given. */
  readonly padding?: number;
}

/** The stops of a window, which are the grid of what comes out. */
export function stopsOf({ height, width, kernel, stride = 1, padding = 0 }: Window): Grid {
  const whole = [height, width, kernel, stride].every((size) => Number.isInteger(size) && size > 0);
  const fits = whole && Number.isInteger(padding) && padding >= 0 && padding < kernel;
  const stops = (size: number) => Math.floor((size + 2 * padding - kernel) / stride) + 1;
  invariant(fits && stops(height) > 0 && stops(width) > 0, () => {
    const window = `kernel ${kernel}, stride ${stride}, padding ${padding}`;
    return `expected a window that fits into ${height} x ${width}, got ${window}`;
  });
  return { height: stops(height), width: stops(width) };
}

const placesOf = ({ height, width }: Grid): number => height * width;

/** Sums of rows of each image: `terms` of them for every row that comes out. One past the last row is zeros. */
interface Choice {
  /** `[rows that come out · terms]` */
  readonly index: readonly number[];
  readonly terms: number;
}

/** Which place each cell of each patch shows, `[stops · kernel²]`. */
function shown(window: Window): Choice {
  const { height, width, kernel, stride = 1, padding = 0 } = window;
  const stops = stopsOf(window);
  const index = Array.from({ length: placesOf(stops) * kernel ** 2 }, (_, at) => {
    const stop = Math.floor(at / kernel ** 2);
    const cell = at % kernel ** 2;
    const y = Math.floor(stop / stops.width) * stride + Math.floor(cell / kernel) - padding;
    const x = (stop % stops.width) * stride + (cell % kernel) - padding;
    return y >= 0 && y < height && x >= 0 && x < width ? y * width + x : height * width;
  });
  return { index, terms: 1 };
}

/** All cells of patches that show a place, for each place. */
function showing(window: Window): Choice {
  const cells = shown(window).index;
  const lists = Array.from({ length: placesOf(window) }, (): number[] => []);
  for (const [cell, place] of cells.entries()) lists[place]?.push(cell);
  const terms = Math.max(1, ...lists.map(({ length }) => length));
  const filled = (list: readonly number[]) => [...list, ...new Array<number>(terms - list.length).fill(cells.length)];
  return { index: lists.flatMap(filled), terms };
}

const windowOf = ({ attributes }: Node): Window => attributes as unknown as Required<Window>;

const choosing = (choiceOf: (window: Window) => Choice): Pick<Op, "onnx" | "tensorflow" | "eager"> => ({
  onnx(emit, [x], node) {
    const { index, terms } = choiceOf(windowOf(node));
    const [images, rows, channels] = node.inputs[0]!.shape as [number, number, number];
    const zeros = () => emit.filled([images, 1, channels]);
    const [table] = index.includes(rows) ? emit.node("Concat", [x!, zeros()], { axis: 1 }) : [x!];
    const axes = terms === 1 ? [index.length] : [index.length / terms, terms];
    const chosen = emit.node("Gather", [table!, emit.integers(index, axes)], { axis: 1 });
    return terms === 1 ? chosen : emit.node("ReduceSum", [...chosen, emit.integers([2])], { keepdims: 0 });
  },
  tensorflow(emit, [x], node) {
    const T = "float32";
    const { index, terms } = choiceOf(windowOf(node));
    const [images, rows, channels] = node.inputs[0]!.shape as [number, number, number];
    const axis = emit.scalar(1, "int32");
    const zeros = () => emit.node("Fill", [emit.integers([images, 1, channels]), emit.scalar(0)], { T })[0]!;
    const [table] = index.includes(rows) ? emit.node("ConcatV2", [x!, zeros(), axis], { N: 2, T }) : [x!];
    const axes = terms === 1 ? [index.length] : [index.length / terms, terms];
    const types = { Tparams: T, Tindices: "int32", Taxis: "int32" } as const;
    const chosen = emit.node("GatherV2", [table!, emit.integers(index, axes), axis], types);
    return terms === 1 ? chosen : emit.node("Sum", [...chosen, emit.integers([2])], { T, keep_dims: false });
  },
  eager(run, node) {
    const { tf } = run;
    const { index, terms } = choiceOf(windowOf(node));
    const [images, , channels] = node.inputs[0]!.shape as [number, number, number];
    const out = node.outputs[0]!.shape as [number, number, number];
    // TensorFlow.js gathers nothing from nothing.
    if (sizeOf(out) === 0) return run.set(node, tf.zeros(out));
    const table = tf.concat([run.get(node.inputs[0]!), tf.zeros([images, 1, channels])], 1);
    const rows = tf.gather(table, tf.tensor1d([...index], "int32"), 1);
    run.set(node, tf.sum(tf.reshape(rows, [images, index.length / terms, terms, channels]), 2));
  },
});

const patchesOp: Op = {
  name: "patches",
  infer: ([x], attributes) => moved("patches", x!, attributes, (window) => [placesOf(window), cellsOf(window)]),
  backward: (node, [g]) => [apply(foldOp, [g!], node.attributes)],
  ...choosing(shown),
};

const foldOp: Op = {
  name: "fold",
  infer: ([x], attributes) => moved("fold", x!, attributes, (window) => [cellsOf(window), placesOf(window)]),
  backward: (node, [g]) => [apply(patchesOp, [g!], node.attributes)],
  ...choosing(showing),
};

const cellsOf = (window: Window): number => placesOf(stopsOf(window)) * window.kernel ** 2;

function moved(
  op: string,
  { shape }: Tensor,
  attributes: Attributes,
  rowsOf: (window: Window) => readonly [from: number, to: number],
): TensorType[] {
  const [from, to] = rowsOf(attributes as unknown as Window);
  const [images, rows, channels] = shape;
  if (shape.length !== 3 || rows !== from || shape.some((size) => typeof size !== "number"))
    throw shapeError(op, `[images, ${from}, channels]`, shape);
  return [{ shape: [images!, to, channels!], dtype: "float32" }];
}

/**
 * What a window shows at each stop: `[images, places, channels]` → `[images, stops · kernel², channels]`, cells row by row.
 * Its derivative is its adjoint, `fold`: each place the sum of the cells that show it.
 */
export const patches = (x: Tensor, { height, width, kernel, stride = 1, padding = 0 }: Window): Tensor =>
  apply(patchesOp, [x], { height, width, kernel, stride, padding });

/**
 * A convolution, which in the sense of mathematics is a correlation.
 *
 * @param x `[images, places, channels]`
 * @param weight `[kernel² · channels, out]`, cells row by row; `[clients, kernel² · channels, out]` for several clients
 * @returns `[images, stops, out]`
 */
export function conv(x: Tensor, weight: Tensor, window: Window): Tensor {
  const [images, , channels] = x.shape as [number, number, number];
  const stops = placesOf(stopsOf(window));
  const cells = reshape(patches(x, window), [images * stops, window.kernel ** 2 * channels]);
  return reshape(perClient(cells, weight), [images, stops, weight.shape.at(-1)!]);
}

/**
 * Means over squares of `size` places that lie side by side.
 *
 * @internal
 * @returns `[images, places, channels]` → `[images, places ÷ size², channels]`
 */
export function averagePool(x: Tensor, { height, width }: Grid, size: number): Tensor {
  const [images, , channels] = x.shape as [number, number, number];
  const squares = [images, height / size, size, width / size, size, channels];
  if (!squares.every(Number.isInteger))
    throw shapeError("averagePool", `a grid of whole squares of ${size}`, [height, width]);
  return reshape(reduceMean(reshape(x, squares), [2, 4]), [images, placesOf({ height, width }) / size ** 2, channels]);
}

/**
 * Channels to places: `[images, places, channels · factor²]` → `[images, places · factor², channels]`. Of each channel that
 * comes out, the cells of its square follow one another. Shi et al., https://arxiv.org/abs/1609.05158
 *
 *
 */
export function pixelShuffle(x: Tensor, { height, width }: Grid, factor: number): Tensor {
  const [images, places, all] = x.shape as [number, number, number];
  const channels = all / factor ** 2;
  if (!Number.isInteger(channels)) throw shapeError("pixelShuffle", `a multiple of ${factor ** 2} channels`, x.shape);
  const cells = reshape(x, [images, height, width, channels, factor, factor]);
  return reshape(transpose(cells, [0, 1, 4, 2, 5, 3]), [images, places * factor ** 2, channels]);
}

export const imageOps: readonly Op[] = [patchesOp, foldOp];
