/** Plain numbers as the arrays that executors take. */
import type { TensorData } from "../../src/tensor/executors/executor.ts";
import type { Program } from "../../src/tensor/graph/ir.ts";
import type { Numbers } from "./reference.ts";

/** Each input in the type the program declares. */
export function feedsFor(program: Program, numbers: Numbers): Record<string, TensorData> {
  const feeds = Object.entries(program.inputs).map(([key, { dtype }]) => {
    const values = Array.from(numbers[key]!);
    if (dtype === "int64") return [key, BigInt64Array.from(values, BigInt)];
    return [key, dtype === "int32" ? Int32Array.from(values) : Float32Array.from(values)];
  });
  return Object.fromEntries(feeds);
}

/** Whatever an executor returned, as numbers. */
export const numbersOf = (data: TensorData): number[] => Array.from(data as ArrayLike<number | bigint>, Number);
