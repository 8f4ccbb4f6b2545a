/**
 * What a run is made of. Every checkpoint states it, as do `run.json` and, under its seal, `result.json`: whoever continues
 * a run, evaluates what it learned or verifies it has to have the same.
 */
import * as z from "zod";

const digest = z.string();
const nullable = z.string().nullable();

export const provenanceSchema = z
  .strictObject({
    program: z.string(),
    /** Of the program's code and of the versions of its libraries. */
    code: digest,
    /** Of the resolved scenario's JSON, without what it expects of the run. */
    scenario: digest,
    /** Of the scenario's file, where the scenario has functions, other than claims, that its JSON cannot hold. */
    source: nullable,
    /** Of recorded devices, recorded availability and the calibration; null for a scenario without any. */
    traces: nullable,
    /** Of the file that the examples came from; null for examples that the scenario describes. */
    data: nullable,
    /** Of the files of the tokenizer; null for that of bytes, which is code, and where nothing was tokenized. */
    tokenizer: nullable,
    /** Of the layout of prompts; null where nothing was tokenized. */
    template: nullable,
    /** Of the base weights; without training, of the model's shape. */
    model: digest,
    /** Of the adapter that it begins with; absent where it begins anew. */
    warmStart: digest.exactOptional(),
    /** Null without training. */
    engine: nullable,
    /** How many clients share a call: their number reaches the last digits. Null without training. */
    merge: nullable,
    /** The processor, since no two kinds of it round alike; null without training. */
    machine: nullable,
    /** Present where workers elsewhere, with any processor, may have trained as well. */
    mixedHardware: z.literal(true).optional(),
  })
  .readonly();

/** Digests are SHA-256 in hexadecimal. */
export type Provenance = z.output<typeof provenanceSchema>;

type Part = keyof Provenance;

/** What lies outside of the run's folder, or beside it, and can change there. */
const inputs = {
  scenario: "its scenario.json",
  source: "the file of its scenario",
  traces: "what its devices, availability or calibration were recorded as",
  data: "its data file",
  tokenizer: "its tokenizer",
  template: "its prompt template",
  model: "its base model",
  warmStart: "the adapter that it begins with",
} as const satisfies Partial<Record<Part, string>>;

export type Input = keyof typeof inputs;

export type Digests = Readonly<Partial<Record<Input, string | null>>>;

/** Where inputs lie, for messages. */
export type Places = Readonly<Partial<Record<Input, string>>>;

/** Why a run made like `made` cannot be continued by a program made like `now`; empty when it can. */
export function differences(made: Provenance, now: Provenance, places: Places = {}): string[] {
  const found: string[] = [];
  if (made.program !== now.program) found.push(`it was written by flame-sim ${made.program}, this is ${now.program}`);
  else if (made.code !== now.code) {
    found.push(`it was written by flame-sim ${made.program} with other code or other libraries than this one's`);
  }
  found.push(...changedInputs(made, now, places));
  if (made.engine !== now.engine) {
    found.push(`it trained with ${made.engine ?? "no engine"}, this run would use ${now.engine ?? "none"}`);
  }
  if (made.merge !== now.merge && made.merge !== null && now.merge !== null) {
    found.push(`it trained with ${made.merge}, this run would with ${now.merge}`);
  }
  return found;
}

/**
 * The inputs that are no longer what they were.
 *
 * @param now an input that is left out is not compared
 */
export function changedInputs(made: Provenance, now: Digests, places: Places = {}): string[] {
  return (Object.keys(inputs) as Input[]).flatMap((input) => {
    const [expected = null, found, place] = [made[input], now[input], places[input]];
    if (found === undefined || found === expected) return [];
    const what = place === undefined ? inputs[input] : `${inputs[input]} ${place}`;
    return [`${what} has changed since: expected ${short(expected)}, found ${short(found)}`];
  });
}

/** As much of a digest as tells it from others. */
const short = (whole: string | null): string => (whole === null ? "none" : `${whole.slice(0, 16)}…`);

/** Of a run that was made with --mixed-hardware. */
export const mixedRemark =
  "it trained on any kind of processor (--mixed-hardware): the last digits may differ each time";

/** What may let a run part from one that was not interrupted, and does not forbid to continue it; null if nothing. */
export function remarkOn(made: Provenance, now: Provenance): string | null {
  if (made.mixedHardware !== now.mixedHardware) return `${mixedRemark}, before or after it was continued`;
  if (made.machine === now.machine) return null;
  return `it trained on ${made.machine}, this is ${now.machine}: the last digits of the adapter may differ`;
}
