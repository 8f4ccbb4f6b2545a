/**
 * Rows of token ids from a JSON file, for models without a tokenizer and for comparisons with other programs:
 *
 *   { "ids": [[86, 12, …], …],            rows of one length, padded on the right; `input_ids` is read as well
 *     "lengths": [20, 15],                real tokens of each row; or `attention_mask`, 1 at every real token
 *     "labels": [[-100, 12, …], …] }      as in transformers: the token itself where it carries loss, else −100
 *
 * Without lengths all tokens are real, without labels every real token but a row's first carries loss.
 */
import * as z from "zod";
import { InputError } from "../base/errors.ts";
import { readJsonAs } from "../base/json.ts";
import { show } from "../base/problem.ts";
import type { Batch } from "./batches.ts";

const ignored = -100;
const id = z.int().min(0);
const rows = <Element extends z.ZodType>(element: Element) => z.array(z.array(element).min(1)).min(1);

const schema = z.looseObject({
  ids: rows(id).optional(),
  input_ids: rows(id).optional(),
  lengths: z.array(z.int().min(1)).optional(),
  attention_mask: rows(z.int().min(0).max(1)).optional(),
  labels: rows(z.union([z.literal(ignored), id])).optional(),
});

/**
 * @param vocabulary ids are below this
 * @param maxTokens longest row
 * @throws InputError naming the file and the row that is wrong
 */
export function readTokenRows(
  path: string,
  limits: { readonly vocabulary: number; readonly maxTokens: number },
): Batch {
  const given = readJsonAs(schema, path);
  const { ids = given.input_ids, attention_mask: mask, labels } = given;
  if (ids === undefined) throw new InputError(`${path}: expected "ids", rows of token ids`);
  if (given.ids !== undefined && given.input_ids !== undefined) {
    throw new InputError(`${path}: "ids" and "input_ids" are two names of one field; expected one of them`);
  }
  if (given.lengths !== undefined && mask !== undefined) {
    throw new InputError(`${path}: "lengths" and "attention_mask" say the same; expected one of them`);
  }
  const unread = Object.keys(given).find((name) => !(name in schema.shape) && isTable(given[name], ids.length));
  if (unread !== undefined) {
    throw new InputError(
      `${path}: ${show(unread)} says something of every row, and is not read; expected ids, lengths and labels`,
    );
  }
  const length = ids[0]!.length;
  for (const [name, table] of Object.entries({ ids, attention_mask: mask, labels })) {
    if (table !== undefined) checkTable(`${path}: ${name}`, table, ids.length, length);
  }
  const lengths = given.lengths ?? mask?.map((row) => row.reduce((a, b) => a + b, 0)) ?? ids.map(() => length);
  checkRows(path, ids, lengths, limits);
  const stranger = labels?.flat().find((label) => label >= limits.vocabulary);
  if (stranger !== undefined) {
    throw new InputError(`${path}: a label is ${stranger}, but the model has ${limits.vocabulary} tokens`);
  }
  if (mask?.some((row, at) => row.slice(0, lengths[at]).includes(0))) {
    throw new InputError(`${path}: attention_mask has a 0 in front of a 1; expected padding on the right only`);
  }
  return batchOf(ids, lengths, labels);
}

const isTable = (value: unknown, rows: number): boolean =>
  Array.isArray(value) && value.length === rows && value.every(Array.isArray);

function checkTable(what: string, table: readonly (readonly number[])[], rows: number, length: number): void {
  if (table.length !== rows) throw new InputError(`${what} has ${table.length} rows, expected ${rows}`);
  const odd = table.findIndex((row) => row.length !== length);
  if (odd >= 0) throw new InputError(`${what} has ${table[odd]!.length} entries in row ${odd}, expected ${length}`);
}

function checkRows(
  path: string,
  ids: readonly (readonly number[])[],
  lengths: readonly number[],
  { vocabulary, maxTokens }: { readonly vocabulary: number; readonly maxTokens: number },
): void {
  const length = ids[0]!.length;
  if (lengths.length !== ids.length) {
    throw new InputError(`${path}: lengths has ${lengths.length} entries, expected one for each of ${ids.length} rows`);
  }
  if (length > maxTokens) throw new InputError(`${path}: rows have ${length} tokens, the model reads ${maxTokens}`);
  for (const [row, tokens] of ids.entries()) {
    const real = lengths[row]!;
    if (real < 1 || real > length) throw new InputError(`${path}: row ${row} has ${real} real tokens of ${length}`);
    const stranger = tokens.find((token) => token >= vocabulary);
    if (stranger !== undefined) {
      throw new InputError(`${path}: row ${row} has token ${stranger}, but the model has ${vocabulary} tokens`);
    }
  }
}

function batchOf(
  ids: readonly (readonly number[])[],
  lengths: readonly number[],
  labels: readonly (readonly number[])[] | undefined,
): Batch {
  const length = ids[0]!.length;
  const lossPositions: number[] = [];
  const targets: number[] = [];
  for (const [row, tokens] of ids.entries()) {
    for (let at = 1; at < lengths[row]!; at++) {
      const label = labels === undefined ? tokens[at]! : labels[row]![at]!;
      if (label === ignored) continue;
      lossPositions.push(row * length + at - 1);
      targets.push(label);
    }
  }
  return {
    rows: ids.length,
    length,
    inputs: { ids: Int32Array.from(ids.flat()) },
    lengths: Int32Array.from(lengths),
    lossPositions: Int32Array.from(lossPositions),
    targets: Int32Array.from(targets),
  };
}
