/**
 * Checkpoints whose digest is right and one of whose values is not: of a random run, at a random place, also within the
 * states and messages that are bytes in it.
 */
import { InputError, messageOf } from "../../../src/base/errors.ts";
import { type Draws, Rng } from "../../../src/base/random.ts";
import { decodeCheckpoint, encodeCheckpoint } from "../../../src/folder/saved-state.ts";
import { blamed } from "../../../src/run/restore.ts";
import { decode, encode } from "../../../src/runtime/messages/codec.ts";
import { stamped } from "../../../src/runtime/messages/envelope.ts";
import { InlinePool } from "../../../src/runtime/pools/inline-pool.ts";
import { play } from "../swarm/drive.ts";
import { caseOf, type Kind, scenarioOf } from "../swarm/generate.ts";
import type { Workshop } from "../swarm/judge.ts";
import { toyPool } from "../toy-engine.ts";

/** How a run went on from a damaged checkpoint. */
export type Ending =
  /** It did not: the error names part and field. */
  | "refused"
  /** It broke a rule later, and the error blames the checkpoint. */
  | "stopped"
  /** As if nothing had been damaged. */
  | "same"
  /** The value is one that another run could have had. */
  | "another run"
  /** What must never happen: another kind of error. */
  | "failed";

export interface DamagedCheckpoint {
  readonly what: string;
  readonly ending: Ending;
  readonly message: string;
}

export async function damagedCheckpoint(number: number, seed: number, workshop: Workshop): Promise<DamagedCheckpoint> {
  const draws = new Rng(seed).at("damaged checkpoints").at(number);
  const kind: Kind = number % 2 === 0 ? "timing" : "toy";
  const scenario = scenarioOf(caseOf(kind, 1 + draws.below(1_000)));
  const prepared = await workshop.prepare(scenario);
  const pool = kind === "toy" ? toyPool : () => new InlinePool({});
  const straight = await play(scenario, { prepared, pool });
  let what = "nothing";
  let from = { round: 0, events: 0 };
  const damage = (bytes: Uint8Array): Uint8Array => {
    const checkpoint = structuredClone(decodeCheckpoint(bytes, "of the swarm"));
    from = checkpoint;
    const parts = checkpoint.parts as Record<string, unknown>;
    const names = Object.keys(parts).filter((name) => isNested(parts[name]));
    const name = pick(draws, names);
    what = `${name}${damaged(parts, name, draws)}`;
    return encodeCheckpoint(checkpoint);
  };
  const interruptAfter = [1 + draws.below(Math.max(1, straight.eventCount - 1))];
  try {
    const resumed = await play(scenario, { prepared, pool, interruptAfter, damage });
    const isSame = resumed.digest === straight.digest && resumed.metrics === straight.metrics;
    return { what, ending: isSame ? "same" : "another run", message: "" };
  } catch (error) {
    const told = blamed(error, from);
    const message = messageOf(told);
    if (!(told instanceof InputError)) return { what, ending: "failed", message: (error as Error).stack ?? message };
    return { what, ending: error instanceof InputError ? "refused" : "stopped", message };
  }
}

/** Damages what is under a name of `holder`, or something within it. @returns where, and what became of it */
function damaged(holder: Record<string, unknown>, name: string, draws: Draws): string {
  const value = holder[name];
  const inside = insideOf(value);
  if (inside !== null && draws.bernoulli(0.95)) {
    const box = { inside: inside.value };
    const what = damaged(box, "inside", draws);
    holder[name] = inside.sealed(box.inside);
    return ` (bytes)${what}`;
  }
  if (isNested(value) && draws.bernoulli(0.92)) {
    const keys = Object.keys(value);
    const key = pick(draws, keys);
    const step = Array.isArray(value) ? `[${key}]` : `.${key}`;
    return `${step}${damaged(value as Record<string, unknown>, key, draws)}`;
  }
  const [became, next] = pick(draws, substitutes)(value, draws);
  if (became === "gone") {
    if (Array.isArray(holder)) holder.splice(Number(name), 1);
    else delete holder[name];
  } else holder[name] = next;
  return ` is ${became}`;
}

const isNested = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !ArrayBuffer.isView(value) && Object.keys(value).length > 0;

/** States of actors are msgpack; envelopes have a checksum besides. */
function insideOf(value: unknown): { value: unknown; sealed(changed: unknown): Uint8Array } | null {
  if (!(value instanceof Uint8Array) || value.length < 5) return null;
  for (const [body, sealed] of [
    [value, encode],
    [value.subarray(0, -4), (changed: unknown) => stamped(encode(changed))],
  ] as const) {
    try {
      const inside = decode(body);
      if (isNested(inside)) return { value: inside, sealed };
    } catch {
      // It is the other one, or content.
    }
  }
  return null;
}

type Substitute = (value: unknown, draws: Draws) => readonly [became: string, value?: unknown];

const substitutes: readonly Substitute[] = [
  () => ["gone"],
  () => ["null", null],
  () => ["a text", "x"],
  () => ["a list", []],
  () => ["an object", {}],
  () => ["1e300", 1e300],
  () => ["-1", -1],
  () => ["a half", 0.5],
  () => ["NaN", Number.NaN],
  () => ["2^53 - 1", 2 ** 53 - 1],
  () => ["true", true],
  () => ["3 bytes", new Uint8Array(3)],
  (value) => (typeof value === "number" ? ["one more", value + 1] : ["gone"]),
  (value, draws) => {
    if (!(value instanceof Float64Array || value instanceof Uint32Array || value instanceof Float32Array)) {
      return ["a function's name", "constructor"];
    }
    if (value.length === 0 || draws.bernoulli(0.3)) return ["shorter", value.slice(1)];
    const changed = value.slice();
    changed[draws.below(value.length)] = pick(draws, [-1e300, Number.NaN, 1e300, 2 ** 31]);
    return ["with another value", changed];
  },
];

const pick = <Value>(draws: Draws, values: readonly Value[]): Value => values[draws.below(values.length)]!;
