/** One instruction and its answer: the shape that every source of data yields. */
import { createHash } from "node:crypto";

/** An instruction and its answer, earlier in the same conversation. */
export interface Exchange {
  readonly instruction: string;
  readonly response: string;
  /** Its response never carries loss. */
  readonly quiet?: true;
}

export interface Example {
  readonly instruction: string;
  /** What the instruction is about; empty when the instruction stands alone. */
  readonly input: string;
  readonly response: string;
  /** How to answer, for the whole conversation. */
  readonly system?: string;
  /** What was said before the instruction, oldest first. */
  readonly history?: readonly Exchange[];
  /** The label that partitions deal by. */
  readonly category: string;
  /** Whose it is, where a partition goes by that. */
  readonly owner?: string;
}

/** The question that a response answers, with all that was said before it. */
export type Question = Pick<Example, "instruction" | "input" | "system" | "history">;

/** The category of examples that name none. */
export const NO_CATEGORY = "uncategorised";

/**
 * Where the example lies in [0, 1): a hash of its question, a multiple of 2⁻⁴⁸.
 *
 * The answer stays out, so two answers to one question always fall on the same side of a split.
 */
export function questionHash({ instruction, input, system = "", history = [] }: Question): number {
  // Lengths in the key keep ("ab", "c") apart from ("a", "bc").
  const hash = createHash("sha256").update(`held-out ${instruction.length}\n${instruction}\n${input}`);
  if (system !== "" || history.length > 0) {
    hash.update(
      `\n${JSON.stringify([system, ...history.map((exchange) => [exchange.instruction, exchange.response])])}`,
    );
  }
  return hash.digest().readUIntBE(0, 6) / 2 ** 48;
}
