/**
 * Prompt templates: how instruction and input are laid out in front of a response.
 *
 * A template is text with the fields `{instruction}` and `{input}`. Names of the tokenizer's special tokens in it
 * become those tokens; in the fields, which hold somebody's data, they stay text. Fixed parts and fields are encoded
 * one by one, so no token straddles the border between prompt and response, which the loss needs to be exact.
 */
import * as z from "zod";
import { ScenarioError } from "../base/errors.ts";
import type { Tokenizer } from "./tokenizer.ts";

export const templateSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("compact") }).describe("special tokens as marks, for the byte tokenizer"),
  z.strictObject({ type: z.literal("headings") }).describe("three plain headings, for other tokenizers"),
  z
    .strictObject({
      type: z.literal("custom"),
      withInput: z
        .string()
        .min(1)
        .max(10_000)
        .describe(
          "for examples with an input; holds `{instruction}` and `{input}`, and ends where the response begins",
        ),
      withoutInput: z.string().min(1).max(10_000).describe("for examples without"),
    })
    .describe("as you write it"),
]);

export type PromptTemplate = Readonly<z.infer<typeof templateSchema>>;

/** Special tokens as marks: `<instruction>… <input>… <response>…`. Short, so it suits the byte tokenizer. */
export const compact = (): PromptTemplate => ({ type: "compact" });
/** Three plain headings, for tokenizers without marks of our own. */
export const headings = (): PromptTemplate => ({ type: "headings" });
export const custom = (withInput: string, withoutInput: string): PromptTemplate => ({
  type: "custom",
  withInput,
  withoutInput,
});

/** `compact` where the tokenizer has the marks, else `headings`. */
export const defaultTemplate = (tokenizer: Tokenizer): PromptTemplate =>
  COMPACT_MARKS.every((mark) => tokenizer.specials.has(mark)) ? compact() : headings();

/** A stretch of a prompt; only fields may be cut when an example is too long. */
export interface Segment {
  readonly field: "instruction" | "input" | null;
  readonly ids: Int32Array;
}

/** A system text stands in front of the instruction, with an empty line between them, and is never cut. */
export type PromptEncoder = (instruction: string, input: string, system?: string) => Segment[];

/** Checks the template against the tokenizer and encodes its fixed parts once. */
export function promptEncoder(template: PromptTemplate, tokenizer: Tokenizer): PromptEncoder {
  const [withInput, withoutInput] = layouts(template, tokenizer);
  const long = compile(withInput, tokenizer);
  const short = compile(withoutInput, tokenizer);
  return (instruction, input, system = "") =>
    (input === "" ? short : long).flatMap((part): Segment[] => {
      if (typeof part !== "string") return [{ field: null, ids: part }];
      if (part === "input") return [{ field: part, ids: tokenizer.encode(input) }];
      const segment = { field: part, ids: tokenizer.encode(instruction) };
      return system === "" ? [segment] : [{ field: null, ids: tokenizer.encode(`${system}\n\n`) }, segment];
    });
}

const COMPACT_MARKS = ["<instruction>", "<input>", "<response>"];

function layouts(template: PromptTemplate, tokenizer: Tokenizer): readonly [string, string] {
  switch (template.type) {
    case "compact": {
      const missing = COMPACT_MARKS.filter((mark) => !tokenizer.specials.has(mark));
      if (missing.length > 0) {
        throw new ScenarioError(
          `data.template "compact" needs the special tokens ${COMPACT_MARKS.join(", ")}, ` +
            `but tokenizer "${tokenizer.name}" lacks ${missing.join(", ")}; expected "headings" or "custom"`,
        );
      }
      return ["<instruction>{instruction}<input>{input}<response>", "<instruction>{instruction}<response>"];
    }
    case "headings":
      return [
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        "### Instruction:\n{instruction}\n\n### Response:\n",
      ];
    case "custom": {
      requireFields("withInput", template.withInput, ["{instruction}", "{input}"]);
      requireFields("withoutInput", template.withoutInput, ["{instruction}"]);
      return [template.withInput, template.withoutInput];
    }
  }
}

function requireFields(key: string, layout: string, fields: readonly string[]): void {
  for (const field of fields) {
    if (layout.split(field).length !== 2) {
      throw new ScenarioError(`data.template.${key} must hold ${field} exactly once, got ${JSON.stringify(layout)}`);
    }
  }
  if (!fields.includes("{input}") && layout.includes("{input}")) {
    throw new ScenarioError(`data.template.${key} is for examples without input, but holds {input}`);
  }
}

type Part = "instruction" | "input" | Int32Array;

function compile(layout: string, tokenizer: Tokenizer): Part[] {
  const names = [...tokenizer.specials.keys()].sort((a, b) => b.length - a.length);
  const marks = ["{instruction}", "{input}", ...names].map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const parts: Part[] = [];
  for (const piece of layout.split(new RegExp(`(${marks.join("|")})`))) {
    if (piece === "") continue;
    if (piece === "{instruction}") parts.push("instruction");
    else if (piece === "{input}") parts.push("input");
    else {
      const special = tokenizer.specials.get(piece);
      parts.push(special === undefined ? tokenizer.encode(piece) : Int32Array.of(special));
    }
  }
  return parts;
}
