/**
 * Tensor programs in float64 and plain loops: slow, and obviously right. Every operation is written from its definition,
 * none from the code in `src/tensor/ops`, and every result is checked against the shape the program inferred.
 *
 * Ragged tensors are whole here; the rows of each group are remembered per ragged dimension.
 */
import assert from "node:assert/strict";
import { reachable } from "../../src/tensor/graph/graph.ts";
import type { Node, Program, Tensor } from "../../src/tensor/graph/ir.ts";
import type { Dim, DType, Shape, SymbolicDim } from "../../src/tensor/graph/shape.ts";
import { fold, patches } from "./image-kernels.ts";
import { gatherColumns, groupSlots, padGroups, unpadGroups } from "./padded-kernels.ts";
import { build, coordinates, read, sizeOf, type Value, value } from "./reference-value.ts";

export type { Value } from "./reference-value.ts";

export type Numbers = Readonly<Record<string, ArrayLike<number>>>;

/** Runs a program and returns its outputs. `feeds` goes by the keys of `program.inputs`, `weights` by weight names. */
export function interpret(program: Program, feeds: Numbers, weights: Numbers = {}): Record<string, Float64Array> {
  const byName: Record<string, ArrayLike<number>> = {};
  for (const [key, tensor] of Object.entries(program.inputs)) {
    byName[tensor.node.attributes.name as string] = feeds[key] ?? missing(key);
  }
  const run = new Reference(byName, weights);
  return Object.fromEntries(Object.entries(program.outputs).map(([key, tensor]) => [key, run.value(tensor).data]));
}

/** The values of one run, computed when asked for, so that a program can be evaluated while it is being built. */
export class Reference {
  readonly #feeds: Numbers;
  readonly #weights: Numbers;
  readonly #values = new Map<Tensor, Value>();
  readonly #sizes = new Map<SymbolicDim, number>();
  readonly #groups = new Map<SymbolicDim, readonly number[]>();

  /** @param feeds inputs by the names they were declared with */
  constructor(feeds: Numbers, weights: Numbers = {}) {
    this.#feeds = feeds;
    this.#weights = weights;
  }

  value(tensor: Tensor): Value {
    const known = this.#values.get(tensor);
    if (known) return known;
    for (const node of reachable([tensor])) if (!this.#values.has(node.outputs[0]!)) this.#compute(node);
    return this.#values.get(tensor)!;
  }

  /** Rows of each group of a ragged tensor. */
  counts(tensor: Tensor): readonly number[] {
    this.value(tensor);
    return this.#groups.get(tensor.shape[0] as SymbolicDim) ?? missing("counts");
  }

  sizeOf = (dim: Dim): number => (typeof dim === "number" ? dim : (this.#sizes.get(dim) ?? missing(dim.symbol)));

  setGroups(dim: SymbolicDim, counts: readonly number[]): void {
    this.#groups.set(dim, counts);
    this.#sizes.set(
      dim,
      counts.reduce((a, b) => a + b, 0),
    );
  }

  setSize(dim: SymbolicDim, size: number): void {
    this.#sizes.set(dim, size);
  }

  #compute(node: Node): void {
    const { op, attributes } = node;
    if (op.name === "input") this.#keep(node, [this.#fed(node, this.#feeds)]);
    else if (op.name === "weight") this.#keep(node, [this.#fed(node, this.#weights)]);
    else if (op.name === "constant") {
      this.#keep(node, [value(attributes.shape as number[], attributes.values as number[])]);
    } else {
      const kernel = kernels[op.name] ?? missing(op.name);
      const inputs = node.inputs.map((input) => this.value(input));
      this.#keep(node, kernel(inputs, attributes as unknown as Attributes, node, this));
    }
  }

  #keep(node: Node, results: readonly Value[]): void {
    for (const [i, output] of node.outputs.entries()) {
      const result = results[i]!;
      assert.deepEqual(result.shape, output.shape.map(this.sizeOf), `${node.op.name}: output ${i} has another shape`);
      assert.equal(result.data.length, sizeOf(result.shape), `${node.op.name}: output ${i} is not full`);
      this.#values.set(output, result);
    }
  }

  #fed(node: Node, source: Numbers): Value {
    const name = node.attributes.name as string;
    const data = source[name] ?? missing(name);
    const { shape } = node.outputs[0]!;
    const fixed = shape.reduce<number>((product, dim) => (typeof dim === "number" ? product * dim : product), 1);
    for (const dim of shape) if (typeof dim !== "number") this.#sizes.set(dim, data.length / fixed);
    return value(shape.map(this.sizeOf), data);
  }
}

type Named<Names extends string, Type> = Readonly<Record<Names, Type>>;
/** The attributes of all operations; each has those of its own. */
type Attributes = Named<"factor" | "term" | "low" | "high" | "divisor" | "axis" | "k" | "columns" | "groups", number> &
  Named<"alpha" | "epsilon" | "theta" | "heads" | "parts", number> &
  Named<"height" | "width" | "kernel" | "stride" | "padding", number> &
  Named<"keep" | "transposeA" | "transposeB" | "transposed" | "inverse", boolean> &
  Named<"shape" | "axes" | "permutation" | "sizes", readonly number[]> &
  Named<"rows" | "blocks", Shape> &
  Named<"dtype", DType>;
type Kernel = (inputs: Value[], attributes: Attributes, node: Node, run: Reference) => Value[];

function missing(what: string): never {
  throw new Error(`the reference has no "${what}"`);
}

const unary =
  (f: (x: number, attributes: Attributes) => number): Kernel =>
  ([x], attributes) => [build(x!.shape, (_, i) => f(x!.data[i]!, attributes))];

const binary =
  (f: (a: number, b: number) => number): Kernel =>
  ([a, b]) => {
    const rank = Math.max(a!.shape.length, b!.shape.length);
    const shape = Array.from({ length: rank }, (_, axis) => {
      const x = a!.shape[axis - rank + a!.shape.length] ?? 1;
      const y = b!.shape[axis - rank + b!.shape.length] ?? 1;
      return x === 1 ? y : x;
    });
    return [build(shape, (at) => f(read(a!, at), read(b!, at)))];
  };

const reduction =
  (f: (values: number[]) => number): Kernel =>
  ([x], { axes, keep }) => {
    const cells = new Map<string, number[]>();
    const reduced = (at: readonly number[]) => at.map((c, axis) => (axes.includes(axis) ? 0 : c));
    for (const [i, element] of x!.data.entries()) {
      const key = reduced(coordinates(i, x!.shape)).join();
      cells.set(key, [...(cells.get(key) ?? []), element]);
    }
    const kept = x!.shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
    const result = build(kept, (at) => f(cells.get(at.join()) ?? []));
    return [keep ? result : { ...result, shape: x!.shape.filter((_, axis) => !axes.includes(axis)) }];
  };

const lastOf = (shape: readonly number[]): number => shape.at(-1)!;
/** The stretches of `data` along the last axis. */
const rowsOf = ({ shape, data }: Value): Float64Array[] => blocks(data, lastOf(shape));
const blocks = (data: Float64Array, size: number): Float64Array[] =>
  Array.from({ length: data.length / size }, (_, i) => data.subarray(i * size, (i + 1) * size));

function softmaxOf(row: ArrayLike<number>): number[] {
  const top = Math.max(...Array.from(row));
  const powers = Array.from(row, (x) => Math.exp(x - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
}

/** Of a query's scores up to its own position; positions begin again with every group of queries. */
const softmaxOfSeen = (row: Float64Array, position: number): number[] =>
  softmaxOf(row.map((x, column) => (column > position % row.length ? Number.NEGATIVE_INFINITY : x)));

/** Columns from the largest value to the smallest; the lower column first where they are equal. */
const ranked = (row: Float64Array): number[] => [...row.keys()].sort((i, j) => row[j]! - row[i]! || i - j);

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** alpha · op(a)·op(b) of one pair of matrices. */
function product(a: Value, b: Value, transposeA: boolean, transposeB: boolean, alpha: number): Value {
  const m = a.shape[transposeA ? 1 : 0]!;
  const inner = a.shape[transposeA ? 0 : 1]!;
  const n = b.shape[transposeB ? 0 : 1]!;
  return build([m, n], ([i, j]) => {
    let sum = 0;
    for (let k = 0; k < inner; k++) {
      sum += read(a, transposeA ? [k, i!] : [i!, k]) * read(b, transposeB ? [j!, k] : [k, j!]);
    }
    return alpha * sum;
  });
}

/** The matrices of the last two axes. */
const matricesOf = ({ shape, data }: Value): Value[] =>
  blocks(data, sizeOf(shape.slice(-2))).map((part) => value(shape.slice(-2), part));

const join = (parts: readonly Value[]): number[] => parts.flatMap(({ data }) => [...data]);

/** The rows of each group of a ragged matrix. */
function piecesOf({ shape, data }: Value, counts: readonly number[]): Value[] {
  let start = 0;
  return counts.map((count) => {
    const rows = data.slice(start * shape[1]!, (start + count) * shape[1]!);
    start += count;
    return value([count, shape[1]!], rows);
  });
}

/** Every operation by name. */
export const kernels: Readonly<Record<string, Kernel>> = {
  zeros: (_, { shape }) => [build(shape, () => 0)],
  zerosLike: unary(() => 0),
  add: binary((a, b) => a + b),
  sub: binary((a, b) => a - b),
  mul: binary((a, b) => a * b),
  div: binary((a, b) => a / b),
  minimum: binary(Math.min),
  less: binary((a, b) => (a < b ? 1 : 0)),
  detach: unary((x) => x),
  after: unary((x) => x),
  /** The product, and σ(gate) and gate · σ(gate) with it. */
  swiglu: ([gate, up]) =>
    [(g: number, u: number) => g * sigmoid(g) * u, (g: number) => sigmoid(g), (g: number) => g * sigmoid(g)].map((f) =>
      build(gate!.shape, (_, i) => f(gate!.data[i]!, up!.data[i]!)),
    ),
  silu: ([x]) => [(v: number) => v * sigmoid(v), sigmoid].map((f) => build(x!.shape, (_, i) => f(x!.data[i]!))),
  neg: unary((x) => -x),
  exp: unary(Math.exp),
  log: unary(Math.log),
  sqrt: unary(Math.sqrt),
  complement: unary((x) => 1 - x),
  scale: unary((x, { factor }) => x * factor),
  addScalar: unary((x, { term }) => x + term),
  within: unary((x, { low, high }) => (x >= low && x <= high ? 1 : 0)),
  clip: unary((x, { low, high }) => Math.min(Math.max(x, low), high)),
  integerDivide: unary((x, { divisor }) => Math.floor(x / divisor)),
  cast: ([x], { dtype }) => [build(x!.shape, (_, i) => castTo(dtype, x!.data[i]!))],
  reduceSum: reduction((values) => values.reduce((a, b) => a + b, 0)),
  reduceMax: reduction((values) => Math.max(...values)),
  argMax: ([x]) => [
    value(
      x!.shape.slice(0, -1),
      rowsOf(x!).map((row) => ranked(row)[0]!),
    ),
  ],
  broadcastLike: ([x, like]) => [build(like!.shape, (at) => read(x!, at))],

  reshape: ([x], _, node, run) => [{ ...x!, shape: node.outputs[0]!.shape.map(run.sizeOf) }],
  transpose: ([x], { permutation }) => {
    const shape = permutation.map((axis) => x!.shape[axis]!);
    return [
      build(shape, (at) =>
        read(
          x!,
          at.map((_, axis) => at[permutation.indexOf(axis)]!),
        ),
      ),
    ];
  },
  concat: (inputs, { axis }) => {
    const total = inputs.reduce((sum, { shape }) => sum + shape[axis]!, 0);
    const shape = inputs[0]!.shape.with(axis, total);
    return [
      build(shape, (at) => {
        let position = at[axis]!;
        for (const input of inputs) {
          if (position < input.shape[axis]!) return read(input, at.with(axis, position));
          position -= input.shape[axis]!;
        }
        return missing("position");
      }),
    ];
  },
  split: ([x], { axis, sizes }) => {
    let start = 0;
    return sizes.map((size) => {
      const first = start;
      start += size;
      return build(x!.shape.with(axis, size), (at) => x!.data[flatOf(x!.shape, at.with(axis, first + at[axis]!))]!);
    });
  },

  gatherRows: ([table, index]) => {
    const rows = blocks(table!.data, sizeOf(table!.shape.slice(1)));
    const picked = Array.from(index!.data, (i) => [...(rows[i] ?? missing(`row ${i}`))]);
    return [value([...index!.shape, ...table!.shape.slice(1)], picked.flat())];
  },
  scatterAddRows: ([values, index, onto], { rows: [rows] }, _, run) => {
    const rest = values!.shape.slice(index!.shape.length);
    const size = sizeOf(rest);
    const sums = onto ? Float64Array.from(onto.data) : new Float64Array(run.sizeOf(rows!) * size);
    for (const [i, row] of index!.data.entries()) {
      for (let column = 0; column < size; column++) sums[row * size + column]! += values!.data[i * size + column]!;
    }
    return [value([run.sizeOf(rows!), ...rest], sums)];
  },
  topK: ([x], { k }) => {
    const shape = x!.shape.with(-1, k);
    const order = rowsOf(x!).map((row) => ranked(row).slice(0, k));
    const picked = order.flatMap((columns, row) => columns.map((column) => rowsOf(x!)[row]![column]!));
    return [value(shape, picked), value(shape, order.flat())];
  },
  scatterColumns: ([values, indices], { columns }) => {
    const k = lastOf(values!.shape);
    const out = new Float64Array((values!.data.length / k) * columns);
    for (const [i, column] of indices!.data.entries()) out[Math.floor(i / k) * columns + column] = values!.data[i]!;
    return [value(values!.shape.with(-1, columns), out)];
  },
  gatherColumns,
  minusOneAt: ([x, column]) => [
    build(
      x!.shape,
      (at, flat) => x!.data[flat]! - (at.at(-1) === column!.data[Math.floor(flat / lastOf(x!.shape))] ? 1 : 0),
    ),
  ],

  matmul: ([a, b], { transposeA, transposeB, alpha }) => {
    const right = matricesOf(b!);
    const products = matricesOf(a!).map((left, i) =>
      product(left, right[i % right.length]!, transposeA, transposeB, alpha),
    );
    return [value([...a!.shape.slice(0, -2), ...products[0]!.shape], join(products))];
  },
  softmax: ([x]) => [value(x!.shape, rowsOf(x!).flatMap(softmaxOf))],
  causalAttention: ([q, k, v], { alpha }) => {
    const scores = matricesOf(q!).map((queries, i) => product(queries, matricesOf(k!)[i]!, false, true, alpha));
    const probabilities = scores.map((s) => value(s.shape, rowsOf(s).flatMap(softmaxOfSeen)));
    const attended = probabilities.map((p, i) => product(p, matricesOf(v!)[i]!, false, false, 1));
    return [attended, probabilities].map((p) => value([...q!.shape.slice(0, -2), ...p[0]!.shape], join(p)));
  },
  crossEntropy: ([logits, targets]) => [
    value(
      targets!.shape,
      rowsOf(logits!).map((row, i) => {
        const top = Math.max(...row);
        return top + Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0)) - row[targets!.data[i]!]!;
      }),
    ),
  ],
  rmsNorm: ([x, weight], { epsilon }) => {
    const rstd = rowsOf(x!).map((row) => 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / row.length + epsilon));
    const normed = rowsOf(x!).flatMap((row, i) => Array.from(row, (v, column) => v * rstd[i]! * weight!.data[column]!));
    return [value(x!.shape, normed), value(x!.shape.with(-1, 1), rstd)];
  },
  rotary: ([x], { heads, theta, inverse }) => {
    const [, , width] = x!.shape as [number, number, number];
    const size = width / heads;
    return [
      build(x!.shape, ([row, position, column]) => {
        const first = Math.floor(column! / size) * size;
        const within = column! - first;
        const m = within % (size / 2);
        const angle = (inverse ? -1 : 1) * position! * theta ** ((-2 * m) / size);
        const a = read(x!, [row!, position!, first + m]);
        const b = read(x!, [row!, position!, first + m + size / 2]);
        return within < size / 2
          ? a * Math.cos(angle) - b * Math.sin(angle)
          : b * Math.cos(angle) + a * Math.sin(angle);
      }),
    ];
  },

  sortByGroup: ([labels], { groups }, node, run) => {
    const members = Array.from({ length: groups }, (_, group) =>
      [...labels!.data.keys()].filter((position) => labels!.data[position] === group),
    );
    const counts = members.map(({ length }) => length);
    run.setGroups(node.outputs[0]!.shape[0] as SymbolicDim, counts);
    const positions = members.flat();
    return [value([positions.length], positions), value([groups], counts)];
  },
  groupSlots,
  padGroups,
  unpadGroups,
  patches,
  fold,
  groupedMatmul: ([x, weights, base], { transposed, alpha }, node, run) => {
    const matrices = matricesOf(weights!);
    const pieces = piecesOf(x!, run.counts(node.inputs[0]!));
    const out = join(pieces.map((rows, group) => product(rows, matrices[group]!, false, transposed, alpha)));
    const shape = [x!.shape[0]!, weights!.shape[transposed ? 1 : 2]!];
    return [base ? build(shape, (_, i) => out[i]! + base.data[i]!) : value(shape, out)];
  },
  groupedOuter: ([a, b], { alpha }, node, run) => {
    const counts = run.counts(node.inputs[0]!);
    const right = piecesOf(b!, counts);
    const products = piecesOf(a!, counts).map((left, group) => product(left, right[group]!, true, false, alpha));
    return [value([counts.length, a!.shape[1]!, b!.shape[1]!], join(products))];
  },
  mergeFactors: ([weights, a, b], { alpha }) => {
    const [as, bs] = [matricesOf(a!), matricesOf(b!)];
    const change = join(as.map((left, group) => product(left, bs[group]!, true, true, alpha)));
    return [build(weights!.shape, (_, i) => weights!.data[i]! + change[i]!)];
  },
  factorGradients: ([x, dy, a, b], { alpha }, node, run) => {
    const counts = run.counts(node.inputs[0]!);
    const [gradients, as, bs] = [piecesOf(dy!, counts), matricesOf(a!), matricesOf(b!)];
    // Through the gradient of the whole matrix, which the executors avoid.
    const whole = piecesOf(x!, counts).map((rows, group) => product(rows, gradients[group]!, true, false, alpha));
    const ofA = whole.map((matrix, group) => product(bs[group]!, matrix, true, true, 1));
    const ofB = whole.map((matrix, group) => product(matrix, as[group]!, true, true, 1));
    return [value(a!.shape, join(ofA)), value(b!.shape, join(ofB))];
  },
};

const flatOf = (shape: readonly number[], at: readonly number[]): number =>
  shape.reduce((flat, size, axis) => flat * size + at[axis]!, 0);

const castTo = (dtype: DType, x: number): number =>
  dtype === "float32" ? x : dtype === "bool" ? +(x !== 0) : Math.trunc(x);
