/** What is written of ONNX's messages is what a library reads by the schema; field numbers are those of `onnx.proto`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import protobuf from "protobufjs";
import { attributeProtos, encodeModel, graphAttribute } from "../../../src/tensor/executors/onnx-proto.ts";

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

test("a model that was written is read by its schema, and written by it to the same bytes", () => {
  const rawData = Uint8Array.from({ length: 40_000 }, (_, i) => i);
  const attributes = { axis: -1, ends: [2 ** 31, 2 ** 53 - 1, -(2 ** 40)], alpha: 1, scale: 0.1, mode: "linear é" };
  const node = { name: "n", opType: "Slice", domain: "", input: ["x", ""], output: ["y"] };
  const inner = { name: "body", nodes: [{ ...node, attribute: [] }], initializers: [], inputs: [], outputs: [] };
  const bytes = encodeModel({
    name: "g",
    nodes: [
      { ...node, attribute: attributeProtos(attributes) },
      { ...node, domain: "com.microsoft", attribute: [graphAttribute("body", inner)] },
    ],
    initializers: [
      { name: "w", dims: [200, 0], dataType: 1, rawData },
      { name: "v", dims: [], dataType: 16, externalData: [{ key: "offset", value: "0" }], dataLocation: 1 },
    ],
    inputs: [
      { name: "x", elementType: 7 },
      { name: "z", elementType: 1, dims: ["rows", 300] },
    ],
    outputs: [{ name: "y", elementType: 1, dims: [] }],
  });
  const read = modelType.decode(bytes);
  assert.deepEqual(Buffer.from(modelType.encode(read).finish()), Buffer.from(bytes));
  const { irVersion, producerName, opsetImport, graph } = modelType.toObject(read, { longs: Number });
  assert.deepEqual([irVersion, producerName], [10, "flame-sim"]);
  assert.deepEqual(opsetImport, [
    { domain: "", version: 21 },
    { domain: "com.microsoft", version: 1 },
  ]);
  assert.deepEqual(graph.node[0], {
    ...node,
    attribute: [
      { name: "axis", i: -1, type: 2 },
      { name: "ends", ints: attributes.ends, type: 7 },
      { name: "alpha", f: 1, type: 1 },
      { name: "scale", f: Math.fround(0.1), type: 1 },
      { name: "mode", s: Buffer.from("linear é"), type: 3 },
    ],
  });
  assert.deepEqual(graph.node[1].attribute, [{ name: "body", type: 5, g: { name: "body", node: [node] } }]);
  assert.deepEqual(Buffer.from(graph.initializer[0].rawData), Buffer.from(rawData));
  assert.deepEqual(graph.input[1].type.tensorType.shape.dim, [{ dimParam: "rows" }, { dimValue: 300 }]);
  assert.deepEqual(graph.output[0].type.tensorType, { elemType: 1, shape: {} });
});
