/**
 * The part of ONNX's protobuf schema that programs need; field numbers are those of `onnx.proto` (opset 21, IR 10).
 */
import protobuf from "protobufjs";

const schema = `
syntax = "proto2";
package onnx;
message AttributeProto {
  optional string name = 1; optional float f = 2; optional int64 i = 3; optional bytes s = 4; optional GraphProto g = 6;
  repeated float floats = 7; repeated int64 ints = 8; optional int32 type = 20;
}
message NodeProto {
  repeated string input = 1; repeated string output = 2; optional string name = 3; optional string op_type = 4;
  repeated AttributeProto attribute = 5; optional string domain = 7;
}
message TensorShapeProto {
  message Dimension { optional int64 dim_value = 1; optional string dim_param = 2; }
  repeated Dimension dim = 1;
}
message TypeProto {
  message Tensor { optional int32 elem_type = 1; optional TensorShapeProto shape = 2; }
  optional Tensor tensor_type = 1;
}
message ValueInfoProto { optional string name = 1; optional TypeProto type = 2; }
message StringStringEntryProto { optional string key = 1; optional string value = 2; }
message TensorProto {
  repeated int64 dims = 1; optional int32 data_type = 2; optional string name = 8; optional bytes raw_data = 9;
  repeated StringStringEntryProto external_data = 13; optional int32 data_location = 14;
}
message GraphProto {
  repeated NodeProto node = 1; optional string name = 2; repeated TensorProto initializer = 5;
  repeated ValueInfoProto input = 11; repeated ValueInfoProto output = 12;
}
message OperatorSetIdProto { optional string domain = 1; optional int64 version = 2; }
message ModelProto {
  optional int64 ir_version = 1; optional string producer_name = 2; optional GraphProto graph = 7;
  repeated OperatorSetIdProto opset_import = 8;
}`;

const modelType = protobuf.parse(schema).root.lookupType("onnx.ModelProto");

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
  readonly attribute: readonly object[];
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

/** `{ axis: 1 }` → the typed attribute messages of a node. */
export function attributeProtos(attributes: Readonly<Record<string, number | string | readonly number[]>>): object[] {
  return Object.entries(attributes).map(([name, value]) => {
    if (typeof value === "string") return { name, s: new TextEncoder().encode(value), type: 3 };
    if (typeof value !== "number") return { name, ints: value, type: 7 };
    // alpha, beta and epsilon are floats even when they are whole.
    const isFloat = !Number.isInteger(value) || name === "alpha" || name === "beta" || name === "epsilon";
    return isFloat ? { name, f: value, type: 1 } : { name, i: value, type: 2 };
  });
}

const valueInfo = ({ name, elementType, dims }: ValueProto) => ({
  name,
  type: {
    tensorType: {
      elemType: elementType,
      ...(dims && {
        shape: { dim: dims.map((dim) => (typeof dim === "string" ? { dimParam: dim } : { dimValue: dim })) },
      }),
    },
  },
});

export interface GraphProto {
  readonly name: string;
  readonly nodes: readonly NodeProto[];
  readonly initializers: readonly TensorProto[];
  readonly inputs: readonly ValueProto[];
  readonly outputs: readonly ValueProto[];
}

const graphMessage = ({ name, nodes, initializers, inputs, outputs }: GraphProto) => ({
  name,
  node: nodes,
  initializer: initializers,
  input: inputs.map(valueInfo),
  output: outputs.map(valueInfo),
});

/** A graph that a node runs. */
export const graphAttribute = (name: string, graph: GraphProto): object => ({ name, g: graphMessage(graph), type: 5 });

export function encodeModel(graph: GraphProto): Uint8Array {
  return modelType
    .encode({
      irVersion: 10,
      producerName: "flame-sim",
      opsetImport: [
        { domain: "", version: 21 },
        { domain: "com.microsoft", version: 1 },
      ],
      graph: graphMessage(graph),
    })
    .finish();
}
