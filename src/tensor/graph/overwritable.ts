/** Which of a program's outputs may be written where the inputs of the same names lie, so that a state takes half the room. */
import { reachable } from "./graph.ts";
import type { Node, Program } from "./ir.ts";

/** Element i of the output needs element i of an input of its shape, and no other of that input. */
const elementwise: ReadonlySet<string> = new Set(["add", "sub", "mul", "scale"]);

/** Read their input once, as one kernel, and copy what they give. */
const copying: ReadonlySet<string> = new Set([...elementwise, "split", "gatherRows"]);

/**
 * Everything that reads the input has to come before the output, whatever order an executor chooses; only the node that makes
 * the output may read it beside, element by element. A reshaped input is the same memory.
 *
 * @returns names
 */
export function overwritable({ inputs, outputs }: Program): Set<string> {
  const readers = new Map<Node, Node[]>();
  for (const node of reachable(Object.values(outputs))) {
    for (const source of new Set(node.inputs.map((input) => input.node))) {
      readers.set(source, [...(readers.get(source) ?? []), node]);
    }
  }
  const isSafe = (name: string): boolean => {
    const [from, to] = [inputs[name]!, outputs[name]!];
    const before = new Set(reachable(to.node.inputs));
    const sameMemory = [from.node];
    for (const place of sameMemory) {
      for (const reader of readers.get(place) ?? []) {
        if (reader.op.name === "reshape") sameMemory.push(reader);
        else if (reader !== to.node) {
          if (!before.has(reader) || !copying.has(reader.op.name)) return false;
        } else if (place !== from.node || !elementwise.has(reader.op.name)) return false;
      }
    }
    return !sameMemory.includes(to.node) && from.shape.join() === to.shape.join();
  };
  return new Set(Object.keys(inputs).filter((name) => name in outputs && isSafe(name)));
}
