/**
 * Digits in two colours: below five or not, where the colour says so too, at every client in a way of its own. A
 * representation φ is shared, every client has a head on it, and the model predicts by the mean of what all heads say.
 *
 * Groups are the layers of φ, of which there may be none, and then the heads. A variant `{ trains: "heads" }` or
 * `{ trains: "representation" }` takes the other part as constant; one with `past: d` asks for d earlier heads of each
 * client, `past`, none for 0, and for the share of each head in the prediction, `shares`: first today's heads, then client
 * by client the earlier ones.
 */
import type { Graph } from "../../tensor/graph/graph.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { detach } from "../../tensor/ops/discrete.ts";
import { concat, reshape, split } from "../../tensor/ops/layout.ts";
import { factsOf } from "../facts.ts";
import { labelledRows } from "../rows.ts";
import type { Task, Variant } from "../task.ts";
import { type Block, blocksOf, ownOf, parametersOf } from "../vision/network.ts";
import { initialWeights } from "../vision/task.ts";
import { headSize, predictTogether } from "./heads.ts";

export interface ColouredOptions {
  /** Numbers of an image. */
  readonly inputs: number;
  /** Widths of φ's layers; none for the image itself. */
  readonly representation: readonly number[];
  /** Of a head; 0 for a linear one. */
  readonly hidden: number;
  /** One for each client. */
  readonly heads: number;
}

const classes = 2;

export function colouredTask({ inputs, representation, hidden, heads }: ColouredOptions): Task {
  const dense = (width: number, widths: readonly number[]) =>
    blocksOf({ type: "mlp", hidden: widths }, { height: 1, width, channels: 1 }, classes);
  const layers = dense(inputs, representation).slice(0, -1);
  const features = representation.at(-1) ?? inputs;
  const head = dense(features, hidden === 0 ? [] : [hidden]);
  const shape = { features, hidden, classes };
  const groups = groupsOf([
    ...layers.map((layer) => ({ name: layer.name, size: parametersOf(layer) })),
    ...Array.from({ length: heads }, (_, client) => ({ name: `head ${client}`, size: headSize(shape) })),
  ]);
  const isHead = groups.map((_, group) => group >= layers.length);
  const size = groups.at(-1)!.ranges[0]!.end;
  return {
    layout: {
      size,
      groups,
      pairs: [],
      heads: { groups: [...isHead.keys()].filter((group) => isHead[group]), linear: hidden === 0 },
    },
    abilities: factsOf("coloured").abilities,
    budget: { full: 1, variant: () => ({}) },
    padding: 1,
    personal: 0,
    // Values, gradient and moments; what comes out of each layer is kept for the way back.
    memory: (_, images) =>
      4 *
      (4 * size + 2 * images * (heads * (hidden + classes) + layers.reduce((sum, { outputs }) => sum + outputs, 0))),
    initial(rng) {
      const ofHead = headSize(shape);
      const one = initialWeights([...layers, ...head], size - (heads - 1) * ofHead, rng);
      const weights = new Float32Array(size);
      weights.set(one);
      // All begin alike: the head of a client that never comes leaves the prediction as strong as it was.
      for (let at = one.length; at < size; at += ofHead) weights.set(one.subarray(-ofHead), at);
      return weights;
    },
    cost: (variant) => costOf(layers, head, { heads, hidden }, variant),
    pass(graph, { parameters }, variant, batch) {
      const { trains, past } = variant;
      const inPhi = size - heads * headSize(shape);
      const [phi, own] = inPhi === 0 ? [null, parameters] : split(parameters, -1, [inPhi, size - inPhi]);
      const inputsOfHeads = earlierHeads(graph, batch.clients, {
        heads,
        past: past as number | undefined,
        size: headSize(shape),
      });
      const predict = (x: Tensor) => {
        const through = phi === null ? [] : ownOf(layers, phi!);
        const seen = layers.reduce((below, layer, at) => layer.apply(below, through[at]!), x);
        const { clients, rows } = batch;
        return reshape(
          predictTogether(
            reshape(trains === "heads" ? detach(seen) : seen, [clients, rows, features]),
            inputsOfHeads.with(trains === "representation" ? detach(own!) : own!),
            inputsOfHeads.shares,
            shape,
          ),
          [clients * rows, classes],
        );
      };
      const trained = isHead.map((is) => trains === undefined || (trains === "heads") === is);
      const pass = labelledRows(graph, inputs, batch, trained, predict);
      return { ...pass, batch: { ...pass.batch, ...inputsOfHeads.given } };
    },
  };
}

function groupsOf(parts: readonly { readonly name: string; readonly size: number }[]) {
  let end = 0;
  return parts.map(({ name, size }) => {
    end += size;
    return { name, ranges: [{ start: end - size, end }] };
  });
}

/** Today's heads and earlier ones, `[clients, heads, size]`, and what each counts, `[clients, 1, heads]`. */
function earlierHeads(
  graph: Graph,
  clients: number,
  { heads, past, size }: { readonly heads: number; readonly past: number | undefined; readonly size: number },
) {
  const today = (own: Tensor) => reshape(own, [clients, heads, size]);
  if (past === undefined) {
    const even = new Array<number>(clients * heads).fill(1 / heads);
    return { given: {}, with: today, shares: graph.constant(even, [clients, 1, heads]) };
  }
  const input = (name: string, length: number) =>
    graph.input(name, "float32", clients === 1 ? [length] : [clients, length]);
  const earlier = heads * past;
  const plays = earlier === 0 ? null : input("past", earlier * size);
  const shares = input("shares", heads + earlier);
  return {
    given: { ...(plays && { past: plays }), shares },
    with: (own: Tensor) => (plays ? concat([today(own), reshape(plays, [clients, earlier, size])], 1) : today(own)),
    shares: reshape(shares, [clients, 1, heads + earlier]),
  };
}

/**
 * Two FLOP for each product of a matrix: once forward, once for the slope of each matrix that trains, and once for what
 * reaches the layer below, where that trains as well. Linear heads are summed first. A client trains one head, its own.
 */
function costOf(
  layers: readonly Block[],
  head: readonly Block[],
  { heads, hidden }: { readonly heads: number; readonly hidden: number },
  { trains, past = 0 }: Variant,
) {
  const flops = (blocks: readonly Block[]) =>
    blocks.reduce((sum, { inputs, outputs }) => sum + 2 * inputs * outputs, 0);
  const all = hidden === 0 ? 1 : heads * (1 + (past as number));
  const [phi, one] = [flops(layers), flops(head)];
  const forward = phi + all * one;
  const intoPhi = layers.length === 0 ? 0 : flops(layers.slice(1)) + phi + all * one;
  const slopes = one + flops(head.slice(1));
  return {
    forward,
    training: forward + (trains === "representation" ? 0 : slopes) + (trains === "heads" ? 0 : intoPhi),
  };
}
