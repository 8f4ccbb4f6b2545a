/**
 * The part of TensorFlow's protobuf schema that a SavedModel of ours needs; field numbers are those of `graph.proto`,
 * `attr_value.proto`, `tensor.proto`, `meta_graph.proto` and `saved_model.proto` in TensorFlow 2.
 */
import protobuf from "protobufjs";
import type { DType } from "../graph/shape.ts";

const schema = `
syntax = "proto2";
package tensorflow;
message TensorShapeProto {
  message Dim { optional int64 size = 1; }
  repeated Dim dim = 2;
}
message TensorProto {
  optional int32 dtype = 1; optional TensorShapeProto tensor_shape = 2; optional bytes tensor_content = 4;
  repeated bytes string_val = 8;
}
message AttrValue {
  optional bytes s = 2; optional int64 i = 3; optional bool b = 5; optional int32 type = 6;
  optional TensorShapeProto shape = 7; optional TensorProto tensor = 8;
}
message NodeDef {
  optional string name = 1; optional string op = 2; repeated string input = 3; map<string, AttrValue> attr = 5;
}
message VersionDef { optional int32 producer = 1; }
message GraphDef { repeated NodeDef node = 1; optional VersionDef versions = 4; }
message TensorInfo { optional string name = 1; optional int32 dtype = 2; optional TensorShapeProto tensor_shape = 3; }
message SignatureDef {
  map<string, TensorInfo> inputs = 1; map<string, TensorInfo> outputs = 2; optional string method_name = 3;
}
message MetaInfoDef { repeated string tags = 4; }
message MetaGraphDef {
  optional MetaInfoDef meta_info_def = 1; optional GraphDef graph_def = 2; map<string, SignatureDef> signature_def = 5;
}
message SavedModel { optional int64 saved_model_schema_version = 1; repeated MetaGraphDef meta_graphs = 2; }`;

const modelType = protobuf.parse(schema).root.lookupType("tensorflow.SavedModel");

/** Numbers of `DataType`. */
export const dataTypes = { float32: 1, int32: 3, string: 7, int64: 9, bool: 10 } as const satisfies Record<
  DType | "string",
  number
>;

export type AttrValue =
  | { readonly s: Uint8Array }
  | { readonly i: number }
  | { readonly b: boolean }
  | { readonly type: number }
  | { readonly shape: ShapeProto }
  | { readonly tensor: TensorProto };

export interface ShapeProto {
  readonly dim: readonly { readonly size: number }[];
}

interface TensorProto {
  readonly dtype: number;
  readonly tensorShape: ShapeProto;
  readonly tensorContent?: Uint8Array;
  readonly stringVal?: readonly Uint8Array[];
}

export interface NodeDef {
  readonly name: string;
  readonly op: string;
  /** `node` or `node:output` for a value, `^node` for an order. */
  readonly input: readonly string[];
  readonly attr: Readonly<Record<string, AttrValue>>;
}

/** One value that enters or leaves the graph. */
export interface TensorInfo {
  /** `node:output`. */
  readonly name: string;
  readonly dtype: number;
  readonly tensorShape: ShapeProto;
}

/** @param dims −1 where the size is known only at run time */
export const shapeProto = (dims: readonly number[]): ShapeProto => ({ dim: dims.map((size) => ({ size })) });

/**
 * The bytes of `saved_model.pb`.
 *
 * @param initializer node that runs once when the model is loaded
 */
export function encodeSavedModel(model: {
  readonly nodes: readonly NodeDef[];
  readonly initializer: string;
  readonly inputs: Readonly<Record<string, TensorInfo>>;
  readonly outputs: Readonly<Record<string, TensorInfo>>;
}): Uint8Array {
  const initializer = { name: model.initializer, dtype: 0, tensorShape: shapeProto([]) };
  return modelType
    .encode({
      savedModelSchemaVersion: 1,
      metaGraphs: [
        {
          metaInfoDef: { tags: ["serve"] },
          // Graphs of TensorFlow 2.4 and later; every op we emit has since kept its meaning.
          graphDef: { node: model.nodes, versions: { producer: 440 } },
          signatureDef: {
            serving_default: {
              inputs: model.inputs,
              outputs: model.outputs,
              methodName: "tensorflow/serving/predict",
            },
            __saved_model_init_op: { outputs: { __saved_model_init_op: initializer } },
          },
        },
      ],
    })
    .finish();
}

/** @internal The nodes of a `saved_model.pb` that {@link encodeSavedModel} wrote. */
export function decodeSavedModel(bytes: Uint8Array): NodeDef[] {
  const { metaGraphs } = modelType.decode(bytes) as unknown as {
    readonly metaGraphs: readonly { readonly graphDef: { readonly node: NodeDef[] } }[];
  };
  return metaGraphs[0]!.graphDef.node;
}
