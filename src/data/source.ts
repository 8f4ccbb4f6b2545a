/** Where examples come from: generated instructions, a file of the user's own, or the scenario itself. */
import { createHash } from "node:crypto";
import * as z from "zod";
import { InputError, ScenarioError } from "../base/errors.ts";
import { given } from "../base/given.ts";
import { FAMILY_NAMES } from "./families.ts";
import { type FieldNames, namesSchema, namingOf, toExample } from "./fields.ts";
import { generateExamples } from "./generate.ts";
import { Reading } from "./reading.ts";
import { defaultTemplate, type PromptTemplate } from "./template.ts";
import { type Loss, type TokenizedData, tokenize, tokenizeStream } from "./tokenized.ts";
import { byteTokenizer, type Tokenizer } from "./tokenizer.ts";

const lossSchema = z
  .enum(["last", "every"])
  .describe("of a conversation, the responses that carry loss: the last one unless given");
const ownNames = namesSchema.describe("what its fields are called, where that is none of the usual spellings");

/** Examples that stand in the scenario itself: of text as in a file, or rows of a table as in CSV. */
const recordsSchema = z
  .strictObject({
    type: z.literal("records"),
    records: z
      .array(z.record(z.string(), z.unknown()))
      .min(1)
      .readonly()
      .describe("the examples themselves, with the fields that a file would have"),
    loss: lossSchema.exactOptional(),
    fields: ownNames.exactOptional(),
    label: z
      .string()
      .min(1)
      .exactOptional()
      .describe("of rows of a table, the column of classes; `class` unless given"),
  })
  .describe("examples that stand in the scenario");

export type RecordsSource = Readonly<z.output<typeof recordsSchema>>;

export const textSourceSchema = z.discriminatedUnion("type", [
  z
    .strictObject({
      type: z.literal("instructions"),
      examples: z.number().int().positive().max(1_000_000).describe("how many are generated"),
      seed: z.number().int().min(0).optional().describe("of what is generated; the scenario's unless given"),
      families: z
        .array(z.enum(FAMILY_NAMES))
        .min(1)
        .optional()
        .describe("kinds of tasks, which are the categories; all unless given"),
      typos: z
        .record(z.string().min(1).max(64), z.number().min(0).max(1))
        .refine((levels) => Object.keys(levels).length > 0, "a level at least")
        .exactOptional()
        .describe("share of an instruction's characters that are mistyped, by level; a level is a category of data"),
    })
    .describe("generated: eight families of tasks with exact answers"),
  z
    .strictObject({
      type: z.literal("file"),
      path: z
        .string()
        .min(1)
        .optional()
        .describe("JSON, JSON Lines or Parquet, relative to the scenario's file; the file of `--data` unless given"),
      loss: lossSchema.optional(),
      fields: ownNames.exactOptional(),
    })
    .describe("instructions of your own"),
  recordsSchema,
]);

export type TextSource = Readonly<z.infer<typeof textSourceSchema>>;

/** Eight task families with exact answers; see `families.ts`. */
export const instructions = (options: {
  examples: number;
  seed?: number;
  families?: string[];
  typos?: Record<string, number>;
}): TextSource => ({
  type: "instructions",
  ...options,
});

/** Somebody's examples, JSON or JSON Lines; docs/data.md says what is read. */
export const file = (path?: string, options: { loss?: Loss; fields?: FieldNames } = {}): TextSource => ({
  type: "file",
  ...given({ path }),
  ...options,
});

/** Examples from an array, `{ instruction, response }` each or with names of your own, or rows of a table. */
export const records = (
  list: RecordsSource["records"],
  options: { loss?: Loss; fields?: FieldNames; label?: string } = {},
): RecordsSource => ({ type: "records", records: list, ...options });

export interface LoadOptions {
  /** For sources without a seed of their own. */
  readonly seed: number;
  /** `--data`: stands in for the path of a `file` source. */
  readonly path?: string;
  readonly tokenizer?: Tokenizer;
  readonly template?: PromptTemplate;
  /** Longest example in tokens. */
  readonly maxTokens: number;
  /** The column that says whose an example is. */
  readonly column?: string;
}

/** Reads or generates the examples and puts them into shared columns. */
export async function loadData(source: TextSource, options: LoadOptions): Promise<TokenizedData> {
  const { tokenizer = byteTokenizer, template = defaultTemplate(tokenizer), maxTokens, column } = options;
  if (source.type === "instructions") {
    const examples = generateExamples({ ...source, seed: source.seed ?? options.seed });
    return requireSome(tokenize(examples, tokenizer, template, { maxTokens }), "generated instructions");
  }
  const naming = namingOf(source.fields, column);
  const how = { maxTokens, ...given({ loss: source.loss }) };
  const reading = new Reading();
  if (source.type === "records") {
    const read = source.records.map((one, at) => toExample(one, `data.source.records[${at}]`, reading, naming));
    const data = tokenize(
      read.filter((one) => one !== null),
      tokenizer,
      template,
      how,
    );
    return requireSome({ ...data, notes: reading.notes }, "data.source.records");
  }
  const path = options.path ?? source.path;
  if (path === undefined) {
    throw new ScenarioError("data.source is file() without a path; expected file(path) or --data <file>");
  }
  const hash = createHash("sha256");
  // Workers, and runs without files of the user's own, are ready without the libraries that read them.
  const { readExamples } = await import("./records.ts");
  const examples = readExamples(path, reading, hash, naming);
  const data = await tokenizeStream(examples, tokenizer, template, how);
  return requireSome({ ...data, digest: hash.digest("hex"), notes: reading.notes }, path);
}

function requireSome(data: TokenizedData, name: string): TokenizedData {
  if (data.examples > 0) return data;
  if (data.dropped === 0) {
    const why = data.notes.length === 0 ? "" : ` (${data.notes.join("; ")})`;
    throw new InputError(`${name}: expected an example with a response, found none${why}`);
  }
  throw new InputError(
    `${name}: all ${data.dropped} examples were left out, their responses need more than ${data.maxTokens} tokens`,
  );
}
