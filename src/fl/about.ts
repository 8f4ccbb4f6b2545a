/** What is said of a method: beside its code, once, for `flame methods`, the documentation and the tests. */
import type { Spec } from "./define.ts";

export interface Paper {
  /** `Li et al.` */
  readonly by: string;
  readonly title: string;
  readonly year: number;
  readonly url: string;
}

/** Options under which a method is another one. */
export interface Reduction {
  readonly options: Readonly<Record<string, unknown>>;
  /** The other one; for a wrapper, what it is wrapped around. */
  readonly to?: Spec;
  /**
   * What the two have in common: the clients' `program`; the server's result in `bytes`, or only its `values`, which
   * float64 sums of another order give to a unit of float32.
   */
  readonly gives: readonly ("program" | "bytes" | "values")[];
}

export interface About {
  /** What it changes about plain averaging, in half a sentence. */
  readonly adapts: string;
  /** The rule in the letters of its source, with what they mean. */
  readonly formula: string;
  /** What its user should know besides. */
  readonly notes?: string;
  /** What clients send besides the model, and what is kept from round to round; null for nothing. */
  readonly sends: string | null;
  readonly keeps: string | null;
  readonly sources: readonly [Paper, ...Paper[]];
  /** How close this is to the source: for what is rebuilt, which part could not be read. */
  readonly certainty: "as published" | `style of: ${string}` | `rebuilt: ${string}`;
  readonly reduces: readonly Reduction[];
}
