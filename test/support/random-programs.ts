/**
 * Random tensor programs over small shapes, with inputs that keep clear of every kink.
 *
 * A program grows step by step from a list of numbers, so that fast-check can shrink it. The values are computed while
 * it grows: results that become large are scaled down, and what is not smooth (clip edges, the order of a top-k) is only
 * used where the values stay at least {@link margin} away from the jump. Float32 and finite differences then see the same
 * branch as float64.
 */
import fc from "fast-check";
import { type Draws, Rng } from "../../src/base/random.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import type { Node, Program, Tensor } from "../../src/tensor/graph/ir.ts";
import { type DType, isRagged, type Shape, type SymbolicDim, sizeOf } from "../../src/tensor/graph/shape.ts";
import { add, cast, mul, reduceSum, scale, square } from "../../src/tensor/ops/arithmetic.ts";
import { scatterAddRows } from "../../src/tensor/ops/index-ops.ts";
import { reshape } from "../../src/tensor/ops/layout.ts";
import { grow } from "./random-steps.ts";
import { Reference, type Value } from "./reference.ts";

/** Distance from every kink. Finite differences move inputs by 1e-5, and programs amplify that by far less than 1000. */
export const margin = 1e-2;

export type Grow = (growth: Growth, step: Step) => readonly Tensor[];

/** One growth step: which operation, and numbers it chooses operands and options with. */
export interface Step {
  readonly op: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

export interface Recipe {
  readonly seed: number;
  readonly steps: readonly Step[];
}

const choice = fc.nat(9_999);
export const recipes: fc.Arbitrary<Recipe> = fc.record({
  seed: fc.nat(1_000_000),
  steps: fc.array(fc.record({ op: choice, a: choice, b: choice, c: choice }), { minLength: 1, maxLength: 14 }),
});

/** Where the rows of a ragged dimension come from: `token[i]` of `rows` rows. */
interface Origin {
  readonly token: Tensor;
  readonly rows: number;
}

export class Growth {
  readonly graph = new Graph();
  readonly feeds: Record<string, number[]> = {};
  readonly reference = new Reference(this.feeds);
  /** Float tensors that later steps build on. */
  readonly pool: Tensor[] = [];
  /** Integer tensors and the number of values they take, from 0. */
  readonly integers: { readonly tensor: Tensor; readonly limit: number }[] = [];
  readonly parameters: Tensor[] = [];
  readonly origins = new Map<SymbolicDim, Origin>();
  /** Whether every step on a path from a parameter must have a derivative. */
  readonly smooth: boolean;
  readonly #depending = new Set<Node>();
  readonly #draws: Draws;

  constructor({ seed, steps }: Recipe, smooth: boolean) {
    this.#draws = new Rng(seed).at("random program").at(0);
    this.smooth = smooth;
    for (const shape of [[3], [4, 3], [2, 3, 4]]) this.parameter(this.#draws.below(2) === 0 ? shape : shape.with(0, 1));
    this.parameter([this.graph.symbol("rows"), 4], 3 * 4);
    this.pool.push(...this.parameters, this.frozen([4, 3]), this.frozen([2, 1, 4]));
    for (const step of steps) for (const grown of grow(this, step)) this.#keep(grown);
  }

  /** A trainable input. */
  parameter(shape: Shape, size = sizeOf(shape)): Tensor {
    const tensor = this.#input(shape, size);
    this.parameters.push(tensor);
    this.#depending.add(tensor.node);
    return tensor;
  }

  frozen(shape: readonly number[]): Tensor {
    return this.#input(shape, sizeOf(shape));
  }

  /** An integer input below `limit`; a lower bound below 0 gives labels that belong to no group. */
  labels(shape: Shape, count: number, limit: number, dtype: DType, from = 0): Tensor {
    const pick = this.#draws.below(4);
    // Uniform, all alike, or only the extremes: empty groups and full ones.
    const draw = () => (pick === 0 ? limit - 1 : from + this.#draws.below(limit - from));
    return this.#feed(shape, dtype, Array.from({ length: count }, draw));
  }

  depends = (tensor: Tensor): boolean =>
    this.#depending.has(tensor.node) || tensor.node.inputs.some((input) => this.#dependsOnce(input));

  value = (tensor: Tensor): Value => this.reference.value(tensor);

  /** A number for an option that must not depend on the step, such as a factor. */
  uniform = (): number => Math.fround(this.#draws.uniform());

  /** Adds a result to the pool, scaled down by a power of two when it is large, unless it is not finite. */
  #keep(tensor: Tensor): void {
    const largest = this.value(tensor).data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    if (!Number.isFinite(largest)) return;
    this.pool.push(largest > 4 ? scale(tensor, 2 ** -Math.ceil(Math.log2(largest / 2))) : tensor);
  }

  #dependsOnce(tensor: Tensor): boolean {
    const answer = this.depends(tensor);
    if (answer) this.#depending.add(tensor.node);
    return answer;
  }

  #input(shape: Shape, size: number): Tensor {
    return this.#feed(
      shape,
      "float32",
      Array.from({ length: size }, () => Math.fround(this.#draws.normal())),
    );
  }

  #feed(shape: Shape, dtype: DType, values: number[]): Tensor {
    const name = `in${Object.keys(this.feeds).length}`;
    this.feeds[name] = values;
    return this.graph.input(name, dtype, shape);
  }
}

/** A grown program as a sum of everything that depends on a parameter, each entry under its own weight. */
export function lossOf(growth: Growth): Tensor {
  const draws = new Rng(growth.pool.length).at("loss").at(0);
  const terms = [...new Set([...growth.parameters, ...growth.pool])].filter(growth.depends).map((tensor) => {
    const flat = withoutRaggedRows(growth, tensor);
    if (flat.shape.every((dim) => typeof dim === "number")) {
      const weights = Array.from({ length: sizeOf(flat.shape) }, () => Math.fround(draws.normal()));
      const constant = growth.graph.constant(weights, [weights.length]);
      return reduceSum(mul(reshape(flat, [weights.length]), constant), [0], true);
    }
    // A size known at run time only: no constant has that shape.
    const axes = flat.shape.map((_, axis) => axis);
    return reshape(reduceSum(add(flat, square(flat)), axes), [1]);
  });
  return terms.reduce((a, b) => add(a, b));
}

function withoutRaggedRows(growth: Growth, tensor: Tensor): Tensor {
  if (!isRagged(tensor.shape)) return tensor;
  const { token, rows } = growth.origins.get(tensor.shape[0] as SymbolicDim)!;
  return scatterAddRows(tensor, token, rows);
}

/** The grown tensors as a program, together with further outputs. */
export function programOf(growth: Growth, extra: readonly Tensor[] = []): Program {
  const outputs = [...growth.pool, ...growth.integers.map(({ tensor }) => tensor), ...extra];
  const inputs = growth.graph.nodes.filter(({ op }) => op.name === "input").map(({ outputs: [tensor] }) => tensor!);
  return {
    name: "random",
    inputs: Object.fromEntries(inputs.map((tensor) => [tensor.node.attributes.name as string, tensor])),
    outputs: Object.fromEntries(
      [...new Set(outputs)].map((tensor, i) => [`out${i}`, tensor.dtype === "bool" ? cast(tensor, "float32") : tensor]),
    ),
  };
}
