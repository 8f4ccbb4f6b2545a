/**
 * A step of training as the body of a Scan: several steps are then one call of the library, and the state does not leave it
 * between them. A small model's step takes less time than what surrounds a call.
 */
import type { Program } from "../graph/ir.ts";
import { type Dim, sizeOf } from "../graph/shape.ts";
import { outputName } from "./onnx-emitter.ts";
import { elementTypes, type GraphProto, graphAttribute, type NodeProto, type ValueProto } from "./onnx-proto.ts";

/**
 * A step of an MLP has 70 nodes, one of four layers of experts 1,700: what a call costs is nothing there. Outputs that are not
 * state are kept for all steps of a call.
 */
const most = { nodes: 400, stateBytes: 8e6, otherBytes: 1e5 };

/** The program's state: float vectors that are inputs and outputs of one name. */
const stateOf = ({ inputs, outputs }: Program): string[] => Object.keys(inputs).filter((name) => name in outputs);

/** Whether steps of the program gain by sharing a call, and differ in nothing but how many rows they are fed. */
export function gainsByCompany(program: Program, { nodes }: GraphProto): boolean {
  const state = stateOf(program);
  const { inputs, outputs } = program;
  const isKnown = (dim: Dim) => typeof dim === "number";
  if (state.length === 0 || !Object.values(outputs).every(({ shape }) => shape.every(isKnown))) return false;
  if (!Object.values(inputs).every(({ shape }) => shape.slice(1).every(isKnown))) return false;
  const isKept = (name: string) =>
    inputs[name]!.dtype === "float32" && String(inputs[name]!.shape) === String(outputs[name]!.shape);
  const bytesOf = (names: readonly string[]) => names.reduce((sum, name) => sum + 4 * sizeOf(outputs[name]!.shape), 0);
  const others = Object.keys(outputs).filter((name) => !state.includes(name));
  return (
    state.every(isKept) &&
    nodes.length <= most.nodes &&
    bytesOf(state) <= most.stateBytes &&
    bytesOf(others) <= most.otherBytes
  );
}

/** What the model is fed under: the state before the first step, or an input of all steps one after the other. */
export const firstName = (input: string): string => `first.${input}`;
export const allName = (input: string): string => `all.${input}`;

/** An input of which steps have unlike numbers of rows: as many for each as one has at most, and how many count. */
export const paddedName = (input: string): string => `padded.${input}`;
export const rowsName = (input: string): string => `rows.${input}`;

/** Sizes that are known only at run time have names. */
export const isUneven = ([rows]: readonly unknown[]): boolean => rows !== undefined && typeof rows !== "number";

const firstRow = "first row";

/** @param fixed inputs of the graph that are the same in every step */
export function stepsGraph(program: Program, step: GraphProto, fixed: ReadonlySet<string>): GraphProto {
  const state = stateOf(program);
  const named = (name: string) => step.outputs.find((output) => output.name === outputName(name))!;
  const outputs = Object.keys(program.outputs).filter((name) => !state.includes(name));
  const before = state.map(
    (name) => step.inputs.find((input) => input.name === program.inputs[name]!.node.attributes.name)!,
  );
  const others = new Set([...before.map(({ name }) => name), ...fixed]);
  const own = step.inputs.filter(({ name }) => !others.has(name));
  const cuts: NodeProto[] = [];
  const scanned = own.flatMap((input): ValueProto[] => {
    const { name, elementType, dims = [] } = input;
    if (!isUneven(dims)) return [input];
    const [padded, rows] = [paddedName(name), rowsName(name)];
    const cut = { name: `cut ${name}`, opType: "Slice", domain: "", attribute: [] };
    cuts.push({ ...cut, input: [padded, firstRow, rows], output: [name] });
    return [
      { name: padded, elementType, dims: [`most ${dims[0]}`, ...dims.slice(1)] },
      { name: rows, elementType: elementTypes.int64, dims: [1] },
    ];
  });
  const after = [...state, ...outputs].map(named);
  const nodes = [...cuts, ...step.nodes];
  const body: GraphProto = { ...step, nodes, initializers: [], inputs: [...before, ...scanned], outputs: after };
  const scan: NodeProto = {
    name: "steps",
    opType: "Scan",
    domain: "",
    input: [...before.map(({ name }) => firstName(name)), ...scanned.map(({ name }) => allName(name))],
    output: after.map(({ name }) => allName(name)),
    attribute: [{ name: "num_scan_inputs", i: scanned.length, type: 2 }, graphAttribute("body", body)],
  };
  const unsized = ({ name, elementType }: ValueProto): ValueProto => ({ name: allName(name), elementType });
  return {
    name: step.name,
    nodes: [scan],
    initializers: [
      ...step.initializers,
      { name: firstRow, dims: [1], dataType: elementTypes.int64, rawData: new Uint8Array(8) },
    ],
    inputs: [
      ...before.map(({ name, ...type }) => ({ name: firstName(name), ...type })),
      ...scanned.map(({ name, elementType, dims }) => ({
        name: allName(name),
        elementType,
        ...(dims && { dims: ["steps", ...dims] }),
      })),
      ...step.inputs.filter(({ name }) => fixed.has(name)),
    ],
    outputs: after.map(unsized),
  };
}
