/**
 * Programs as data. A program is written as the nodes that its outputs need, in the order in which they were built, each
 * with the name of its operation; whoever reads it builds the same nodes again, so shapes are checked once more and the
 * executors emit the same bytes. Its digest names what is computed: the same text, the same computation.
 *
 * A worker that runs encoded programs needs no code of whoever wrote them.
 */
import * as z from "zod";
import { sha256 } from "../base/digest.ts";
import { InputError, messageOf } from "../base/errors.ts";
import { Graph, reachable } from "./graph/graph.ts";
import type { Attributes, AttributeValue, Node, Program, Tensor } from "./graph/ir.ts";
import type { SymbolicDim } from "./graph/shape.ts";
import { opsByName } from "./ops/index.ts";

export interface EncodedProgram {
  /** SHA-256 of the text. */
  readonly digest: string;
  readonly text: string;
}

/** `[node, output]`: which node of the list, and which of its outputs. */
const reference = z.tuple([z.int().min(0), z.int().min(0)]);
const schema = z.strictObject({
  name: z.string(),
  /** `[operation, inputs, attributes]`. */
  nodes: z.array(z.tuple([z.string(), z.array(reference), z.record(z.string(), z.unknown())])),
  inputs: z.record(z.string(), reference),
  outputs: z.record(z.string(), reference),
});
type Written = z.output<typeof schema>;

export function encodeProgram({ name, inputs, outputs }: Program): EncodedProgram {
  // An input that no output needs is fed all the same, so it belongs to the program.
  const nodes = reachable([...Object.values(inputs), ...Object.values(outputs)]);
  const places = new Map(nodes.map((node, place) => [node, place]));
  const refer = ({ node, index }: Tensor): [number, number] => [places.get(node)!, index];
  const named = (tensors: Readonly<Record<string, Tensor>>) =>
    Object.fromEntries(Object.entries(tensors).map(([key, tensor]) => [key, refer(tensor)]));
  const written: Written = {
    name,
    nodes: nodes.map(({ op, inputs, attributes }) => [op.name, inputs.map(refer), attributes]),
    inputs: named(inputs),
    outputs: named(outputs),
  };
  const text = JSON.stringify(written, writeNumber);
  return { digest: sha256(text), text };
}

/** @throws InputError where the text is not a program that this version can run */
export function decodeProgram(text: string): Program {
  const { name, nodes, inputs, outputs } = parse(text);
  const graph = new Graph();
  const built: Node[] = [];
  const find = ([place, index]: readonly [number, number]): Tensor => {
    const tensor = built[place]?.outputs[index];
    if (tensor === undefined)
      throw new InputError(`program "${name}": output ${index} of node ${place} does not exist`);
    return tensor;
  };
  const symbols = new Map<string, SymbolicDim>();
  for (const [opName, sources, attributes] of nodes) {
    const op = opsByName.get(opName);
    if (op === undefined) throw new InputError(`program "${name}": no operation is called "${opName}"`);
    built.push(graph.node(op, sources.map(find), readAttributes(attributes, symbols)));
  }
  const named = (references: Written["inputs"]) =>
    Object.fromEntries(Object.entries(references).map(([key, reference]) => [key, find(reference)]));
  return { name, inputs: named(inputs), outputs: named(outputs) };
}

function parse(text: string): Written {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new InputError(`a program cannot be read: ${messageOf(cause)}`, { cause });
  }
}

/** JSON knows neither infinities nor a negative zero. */
const special = ["Infinity", "-Infinity", "NaN", "-0"];

function writeNumber(_key: string, value: unknown): unknown {
  if (typeof value !== "number" || (Number.isFinite(value) && !Object.is(value, -0))) return value;
  return { number: Object.is(value, -0) ? "-0" : String(value) };
}

/** A size that is known only at run time is one object wherever it stands: that is how two of them are compared. */
function readAttributes(written: unknown, symbols: Map<string, SymbolicDim>): Attributes {
  const read = (value: unknown): AttributeValue => {
    if (Array.isArray(value)) return value.map(read) as unknown as AttributeValue;
    if (typeof value !== "object" || value === null) return value as AttributeValue;
    const { number, symbol } = value as { number?: string; symbol?: string };
    if (number !== undefined && special.includes(number)) return Number(number);
    if (symbol === undefined) throw new InputError(`an attribute is ${JSON.stringify(value)}, expected a size`);
    const known = symbols.get(symbol) ?? (value as SymbolicDim);
    symbols.set(symbol, known);
    return known;
  };
  return Object.fromEntries(Object.entries(written as object).map(([key, value]) => [key, read(value)]));
}
