/** One instruction and its answer: the shape that every source of data yields. */
import { createHash } from "node:crypto";

export interface Example {
  readonly instruction: string;
  /** What the instruction is about; empty when the instruction stands alone. */
  readonly input: string;
  readonly response: string;
  /** The label that partitions deal by. */
  readonly category: string;
}

/** The category of examples that name none. */
export const NO_CATEGORY = "uncategorised";

/**
 * Where the example lies in [0, 1): a hash of its question, a multiple of 2⁻⁴⁸.
 *
 * The answer stays out, so two answers to one question always fall on the same side of a split.
 */
export function questionHash({ instruction, input }: Pick<Example, "instruction" | "input">): number {
  // Lengths in the key keep ("ab", "c") apart from ("a", "bc").
  const digest = createHash("sha256").update(`held-out ${instruction.length}\n${instruction}\n${input}`).digest();
  return digest.readUIntBE(0, 6) / 2 ** 48;
}
