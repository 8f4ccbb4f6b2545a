/**
 * The part of ONNX's protobuf messages that programs need; field numbers are those of `onnx.proto` (opset 21, IR 10). They
 * are written field by field: to read a schema takes longer, in every worker, than to write a small model.
 */
import protobuf from "protobufjs/minimal.js";

export const elementTypes = {
  float32: 1,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  bfloat16: 16,
  int4: 22,
} as const;

export interface NodeProto {
  readonly name: string;
  readonly opType: string;
  readonly domain: string;
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly attribute: readonly AttributeProto[];
}

export interface TensorProto {
  readonly name: string;
  readonly dims: readonly number[];
  readonly dataType: number;
  readonly rawData?: Uint8Array;
  readonly externalData?: readonly { readonly key: string; readonly value: string }[];
  readonly dataLocation?: number;
}

export interface ValueProto {
  readonly name: string;
  readonly elementType: number;
  /** Nothing is said of the shape where absent. */
  readonly dims?: readonly (number | string)[];
}

export type AttributeProto = { readonly name: string } & (
  | { readonly type: 1; readonly f: number }
  | { readonly type: 2; readonly i: number }
  | { readonly type: 3; readonly s: string }
  | { readonly type: 5; readonly g: GraphProto }
  | { readonly type: 7; readonly ints: readonly number[] }
);

/** `{ axis: 1 }` → the typed attribute messages of a node. */
export function attributeProtos(
  attributes: Readonly<Record<string, number | string | readonly number[]>>,
): AttributeProto[] {
  return Object.entries(attributes).map(([name, value]) => {
    if (typeof value === "string") return { name, s: value, type: 3 };
    if (typeof value !== "number") return { name, ints: value, type: 7 };
    // alpha, beta and epsilon are floats even when they are whole.
    const isFloat = !Number.isInteger(value) || name === "alpha" || name === "beta" || name === "epsilon";
    return isFloat ? { name, f: value, type: 1 } : { name, i: value, type: 2 };
  });
}

export interface GraphProto {
  readonly name: string;
  readonly nodes: readonly NodeProto[];
  readonly initializers: readonly TensorProto[];
  readonly inputs: readonly ValueProto[];
  readonly outputs: readonly ValueProto[];
}

/** A graph that a node runs. */
export const graphAttribute = (name: string, graph: GraphProto): AttributeProto => ({ name, g: graph, type: 5 });

export function encodeModel(graph: GraphProto): Uint8Array {
  const to = protobuf.Writer.create();
  int(to, 1, 10);
  text(to, 2, "flame-sim");
  message(to, 7, () => writeGraph(to, graph));
  for (const { domain, version } of operators) {
    message(to, 8, () => {
      text(to, 1, domain);
      int(to, 2, version);
    });
  }
  return to.finish();
}

const operators = [
  { domain: "", version: 21 },
  { domain: "com.microsoft", version: 1 },
];

type Writer = protobuf.Writer;

function writeGraph(to: Writer, { name, nodes, initializers, inputs, outputs }: GraphProto): void {
  for (const node of nodes) message(to, 1, () => writeNode(to, node));
  text(to, 2, name);
  for (const tensor of initializers) message(to, 5, () => writeTensor(to, tensor));
  for (const input of inputs) message(to, 11, () => writeValue(to, input));
  for (const output of outputs) message(to, 12, () => writeValue(to, output));
}

function writeNode(to: Writer, { name, opType, domain, input, output, attribute }: NodeProto): void {
  for (const value of input) text(to, 1, value);
  for (const value of output) text(to, 2, value);
  text(to, 3, name);
  text(to, 4, opType);
  for (const own of attribute) message(to, 5, () => writeAttribute(to, own));
  text(to, 7, domain);
}

function writeAttribute(to: Writer, attribute: AttributeProto): void {
  text(to, 1, attribute.name);
  if (attribute.type === 1) to.uint32(tag(2, 5)).float(attribute.f);
  else if (attribute.type === 2) int(to, 3, attribute.i);
  else if (attribute.type === 3) text(to, 4, attribute.s);
  else if (attribute.type === 5) message(to, 6, () => writeGraph(to, attribute.g));
  else for (const value of attribute.ints) int(to, 8, value);
  int(to, 20, attribute.type);
}

function writeTensor(
  to: Writer,
  { name, dims, dataType, rawData, externalData = [], dataLocation }: TensorProto,
): void {
  for (const dim of dims) int(to, 1, dim);
  int(to, 2, dataType);
  text(to, 8, name);
  if (rawData !== undefined) to.uint32(tag(9, 2)).bytes(rawData);
  for (const { key, value } of externalData) {
    message(to, 13, () => {
      text(to, 1, key);
      text(to, 2, value);
    });
  }
  if (dataLocation !== undefined) int(to, 14, dataLocation);
}

function writeValue(to: Writer, { name, elementType, dims }: ValueProto): void {
  const writeDim = (dim: number | string) => (typeof dim === "string" ? text(to, 2, dim) : int(to, 1, dim));
  text(to, 1, name);
  message(to, 2, () =>
    message(to, 1, () => {
      int(to, 1, elementType);
      if (dims === undefined) return;
      message(to, 2, () => {
        for (const dim of dims) message(to, 1, () => writeDim(dim));
      });
    }),
  );
}

const tag = (field: number, wire: number): number => (field << 3) | wire;

const int = (to: Writer, field: number, value: number): void => void to.uint32(tag(field, 0)).int64(value);

const text = (to: Writer, field: number, value: string): void => void to.uint32(tag(field, 2)).string(value);

/** @param write is to write the fields of the message */
function message(to: Writer, field: number, write: () => void): void {
  to.uint32(tag(field, 2)).fork();
  write();
  to.ldelim();
}
