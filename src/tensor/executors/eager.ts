/**
 * Interprets a program one operation at a time on TensorFlow.js. Slow and obvious: the oracle of the tests, and the last
 * resort where no native executor loads. Ragged tensors are whole here, with their counts beside them.
 */

import { closeSync } from "node:fs";
import type * as Tf from "@tensorflow/tfjs-core";
import { InvariantError, invariant } from "../../base/errors.ts";
import { openToRead } from "../../base/open.ts";
import { constantOp, inputOp, reachable, weightOp, zerosOp } from "../graph/graph.ts";
import type { EagerLowering, Node, Program, Tensor } from "../graph/ir.ts";
import { type DType, type SymbolicDim, sizeOf } from "../graph/shape.ts";
import { readStored } from "../stored/stored.ts";
import { type Executable, type Executor, sizesOf, type TensorData, type WeightSource } from "./executor.ts";

declare module "../graph/ir.ts" {
  /** One eager run on TensorFlow.js: the values so far. */
  interface EagerLowering {
    readonly tf: typeof Tf;
    get(tensor: Tensor): Tf.Tensor;
    /** An index tensor in the one integer type TensorFlow.js has. */
    integers(tensor: Tensor): Tf.Tensor;
    set(node: Node, value: Tf.Tensor, index?: number): void;
    /** Remembers how many rows of a ragged tensor belong to each group. */
    setCounts(tensor: Tensor, counts: readonly number[]): void;
    /** The rows of each group. */
    pieces(tensor: Tensor): Tf.Tensor[];
    binary(node: Node, kind: "Add" | "Sub" | "Mul" | "Div"): void;
    unary(node: Node, kind: string): void;
  }
}

/** One run of a program: the values so far. */
class TfEager implements EagerLowering {
  readonly tf: typeof Tf;
  readonly #values = new Map<string, Tf.Tensor>();
  readonly #counts = new Map<SymbolicDim, readonly number[]>();

  constructor(tf: typeof Tf) {
    this.tf = tf;
  }

  get(tensor: Tensor): Tf.Tensor {
    const value = this.#values.get(`${tensor.node.id}.${tensor.index}`);
    invariant(value, () => `eager: ${tensor.node.op.name} has no value yet`);
    return value;
  }

  /** An index tensor in the one integer type TensorFlow.js has. */
  integers(tensor: Tensor): Tf.Tensor {
    return this.tf.cast(this.get(tensor), "int32");
  }

  set(node: Node, value: Tf.Tensor, index = 0): void {
    // TensorFlow.js cannot cut what it concatenated from nothing.
    const kept = value.size === 0 ? this.tf.zeros(value.shape, value.dtype as "float32") : value;
    this.#values.set(`${node.id}.${index}`, kept);
  }

  /** Remembers how many rows of a ragged tensor belong to each group. */
  setCounts(tensor: Tensor, counts: readonly number[]): void {
    this.#counts.set(tensor.shape[0] as SymbolicDim, counts);
  }

  /** The rows of each group. */
  pieces(tensor: Tensor): Tf.Tensor[] {
    const counts = this.#counts.get(tensor.shape[0] as SymbolicDim);
    invariant(counts, "eager: the ragged dimension has no counts");
    let start = 0;
    return counts.map((count) => {
      const rest = this.get(tensor).shape.slice(1);
      const rows = this.tf.slice(this.get(tensor), [start, ...rest.map(() => 0)], [count, ...rest]);
      start += count;
      return rows;
    });
  }

  binary(node: Node, kind: "Add" | "Sub" | "Mul" | "Div"): void {
    const [a, b] = node.inputs.map((input) => this.get(input)) as [Tf.Tensor, Tf.Tensor];
    const run = { Add: this.tf.add, Sub: this.tf.sub, Mul: this.tf.mul, Div: this.tf.div }[kind];
    this.set(node, run(a, b));
  }

  unary(node: Node, kind: string): void {
    const { neg, exp, log, sqrt, sigmoid } = this.tf;
    const run = { Neg: neg, Exp: exp, Log: log, Sqrt: sqrt, Sigmoid: sigmoid }[kind];
    if (!run) throw new InvariantError(`eager: no kernel for ${kind}`);
    this.set(node, run(this.get(node.inputs[0]!)));
  }
}

const tfType = (dtype: DType) => (dtype === "float32" ? "float32" : dtype === "bool" ? "bool" : "int32");

export class EagerExecutor implements Executor {
  readonly name: string;
  readonly #tf: typeof Tf;

  /** @param tf TensorFlow.js core with the wanted backend set and ready */
  constructor(tf: typeof Tf) {
    this.#tf = tf;
    this.name = `tfjs-${tf.getBackend()}`;
  }

  async compile(program: Program, weights: WeightSource | null): Promise<Executable> {
    const tf = this.#tf;
    const nodes = reachable(Object.values(program.outputs));
    const frozen = new Map<Node, Tf.Tensor>();
    for (const node of nodes) if (node.op === weightOp) frozen.set(node, readWeight(tf, node, weights));
    let disposed = false;
    return {
      async run(feeds, into = {}) {
        if (disposed) throw new InvariantError(`program "${program.name}" was disposed`);
        const results: Record<string, TensorData> = {};
        tf.engine().startScope();
        try {
          const run = new TfEager(tf);
          for (const [key, { node }] of Object.entries(program.inputs))
            run.set(node, feed(tf, program, key, feeds[key]));
          for (const node of nodes) {
            if (node.op === inputOp) continue;
            const [output] = node.outputs as [Tensor];
            const shape = output.shape as number[];
            if (node.op === weightOp) run.set(node, frozen.get(node)!);
            else if (node.op === zerosOp) run.set(node, tf.zeros(shape));
            else if (node.op === constantOp) {
              run.set(node, tf.tensor(node.attributes.values as number[], shape, tfType(output.dtype)));
            } else if (node.op.eager) node.op.eager(run, node);
            else throw new InvariantError(`eager: ${node.op.name} has no lowering`);
          }
          for (const [key, tensor] of Object.entries(program.outputs)) {
            results[key] = read(run.get(tensor), tensor.dtype, into[key]);
          }
        } finally {
          tf.engine().endScope();
        }
        return results;
      },
      dispose() {
        disposed = true;
        for (const tensor of frozen.values()) tensor.dispose();
      },
    };
  }
}

function feed(tf: typeof Tf, program: Program, key: string, data: TensorData | undefined): Tf.Tensor {
  const type = program.inputs[key]!;
  const sizes = sizesOf(program, key, type, data);
  return tf.tensor(data instanceof BigInt64Array ? Int32Array.from(data, Number) : data!, sizes, tfType(type.dtype));
}

function read(value: Tf.Tensor, dtype: DType, into: Float32Array | undefined): TensorData {
  const data = value.dataSync();
  if (dtype === "int64") return BigInt64Array.from(data as Int32Array, BigInt);
  if (!into) return dtype === "float32" ? Float32Array.from(data) : Int32Array.from(data);
  into.set(data);
  return into;
}

function readWeight(tf: typeof Tf, node: Node, weights: WeightSource | null): Tf.Tensor {
  const entry = weights?.tensors.get(node.attributes.name as string);
  if (!entry || !weights) throw new InvariantError(`eager: the base weights have no tensor "${node.attributes.name}"`);
  const values = new Float32Array(sizeOf(entry.shape));
  const file = openToRead(weights.path);
  try {
    readStored(file, weights.path, entry, values);
  } finally {
    closeSync(file);
  }
  return tf.keep(tf.tensor(values, entry.shape as number[]));
}
