/**
 * HetLoRA's tail strength: Σ over pairs of ‖B tail‖·‖A tail‖, the tail being components `from` to `until` − 1. As a number
 * and as a piece of a step.
 */
import type { LowRankPair, ParameterLayout } from "../../../tasks/layout.ts";
import type { Tensor } from "../../../tensor/graph/ir.ts";
import { addScalar, mul, reduceSum, sqrt, square, sub } from "../../../tensor/ops/arithmetic.ts";
import { less } from "../../../tensor/ops/discrete.ts";
import { gatherRows } from "../../../tensor/ops/index-ops.ts";
import { concat, reshape, split, transpose } from "../../../tensor/ops/layout.ts";

interface Tail {
  readonly from: number;
  readonly until: number;
}

export function tailStrength(
  values: Float32Array | Float64Array,
  { pairs }: ParameterLayout,
  { from, until }: Tail,
): number {
  let strength = 0;
  for (const { a, b, inputs, outputs, rank } of pairs) {
    let [squareA, squareB] = [0, 0];
    for (let i = a + from * inputs; i < a + until * inputs; i++) squareA += values[i]! ** 2;
    for (let row = 0; row < outputs; row++) {
      for (let q = from; q < until; q++) squareB += values[b + row * rank + q]! ** 2;
    }
    strength += Math.sqrt(squareA * squareB);
  }
  return strength;
}

/** Under the roots, so that a norm of 0 has a derivative of 0. */
const tiny = 1e-30;

/**
 * @param parameters `[size]`, or `[clients, size]`
 * @param tail `[1]` or `[clients, 1]` each
 * @returns `[1]`, or `[clients]`
 */
export function tailStrengthOf(
  parameters: Tensor,
  layout: ParameterLayout,
  tail: { readonly from: Tensor; readonly until: Tensor },
): Tensor {
  const { graph } = parameters.node;
  const rank = layout.pairs[0]!.rank;
  const clients = parameters.shape.length === 2 ? (parameters.shape[0] as number) : 1;
  const component = graph.constant([...Array(rank).keys()], [1, rank]);
  const before = (limit: Tensor) => less(component, reshape(limit, [clients, 1]));
  const inTail = reshape(sub(before(tail.until), before(tail.from)), [clients, 1, rank]);
  const { ofA, ofB } = componentSquares(reshape(parameters, [clients, layout.size]), layout, clients);
  /** Norms of the tails, `[pairs, clients]`, in the order of `layout.pairs`. */
  const norms = ({ squares, order }: Squares) => {
    const sums = reduceSum(mul(squares, inTail), [2]);
    const byPair = transpose(sqrt(addScalar(sums, tiny)), [1, 0]);
    const place = layout.pairs.map((pair) => order.indexOf(pair));
    return gatherRows(byPair, graph.constant(place, [place.length], "int32"));
  };
  return reduceSum(mul(norms(ofA), norms(ofB)), [0]);
}

interface Squares {
  /** Squared length of each component, `[clients, pairs, rank]`. */
  readonly squares: Tensor;
  readonly order: readonly LowRankPair[];
}

interface Run {
  readonly isA: boolean;
  readonly start: number;
  readonly length: number;
  readonly pairs: LowRankPair[];
}

function componentSquares(flat: Tensor, { size, pairs }: ParameterLayout, clients: number) {
  const runs = runsOf(pairs);
  const sizes: number[] = [];
  const places: number[] = [];
  let at = 0;
  for (const { start, length, pairs: members } of runs) {
    if (start > at) sizes.push(start - at);
    places.push(sizes.length);
    sizes.push(length * members.length);
    at = start + length * members.length;
  }
  if (at < size) sizes.push(size - at);
  const parts = split(square(flat), 1, sizes);
  const squaresOf = (kind: boolean): Squares => {
    const members = [...runs.entries()].filter(([, { isA }]) => isA === kind);
    const squares = members.map(([index, { pairs: own }]) => {
      const [{ rank, inputs, outputs }] = own as [LowRankPair];
      const part = parts[places[index]!]!;
      return kind
        ? reduceSum(reshape(part, [clients, own.length, rank, inputs]), [3])
        : reduceSum(reshape(part, [clients, own.length, outputs, rank]), [2]);
    });
    return {
      squares: squares.length === 1 ? squares[0]! : concat(squares, 1),
      order: members.flatMap(([, { pairs: own }]) => own),
    };
  };
  return { ofA: squaresOf(true), ofB: squaresOf(false) };
}

/** Factors of one shape that lie one behind the other. */
function runsOf(pairs: readonly LowRankPair[]): Run[] {
  const factors = pairs.flatMap((pair) => [
    { isA: true, start: pair.a, length: pair.rank * pair.inputs, pair },
    { isA: false, start: pair.b, length: pair.rank * pair.outputs, pair },
  ]);
  const runs: Run[] = [];
  for (const { isA, start, length, pair } of factors.toSorted((one, other) => one.start - other.start)) {
    const last = runs.at(-1);
    const joins = last?.isA === isA && last.length === length && last.start + length * last.pairs.length === start;
    if (joins) last.pairs.push(pair);
    else runs.push({ isA, start, length, pairs: [pair] });
  }
  return runs;
}
