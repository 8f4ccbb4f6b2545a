/**
 * What one record of somebody's file says. docs/data.md has the table of all spellings.
 *
 *   {"instruction": "…", "input": "…", "output": "…", "system": "…", "history": [["…", "…"], …], "category": "…"}
 *   {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}, …]}
 *
 * Every field is read, refused, or spoken of as not read if it looks like content. Only own fields count.
 */
import * as z from "zod";
import { InputError } from "../base/errors.ts";
import { given } from "../base/given.ts";
import { printable } from "../base/text.ts";
import { type Example, type Exchange, NO_CATEGORY } from "./example.ts";
import type { Reading } from "./reading.ts";

const SPELLINGS = {
  instruction: ["instruction", "question", "prompt", "query"],
  input: ["input", "context"],
  response: ["response", "output", "answer", "completion"],
  system: ["system", "system_prompt"],
  category: ["category"],
} as const;

const CONVERSATIONS = ["messages", "conversations"] as const;

/** Passed over, they are spoken of whatever they hold. */
const KNOWN: ReadonlySet<string> = new Set([...Object.values(SPELLINGS).flat(), "history", ...CONVERSATIONS]);

type Field = keyof typeof SPELLINGS;
type Fields = Readonly<Record<string, unknown>>;

const called = (what: string) => z.string().min(1).exactOptional().describe(`name of ${what}`);
/** What fields are called in somebody's file; `output` is another word for the response. */
export const namesSchema = z
  .strictObject({
    instruction: called("what is asked"),
    input: called("what it is asked about"),
    response: called("the answer"),
    output: called("the answer, in another word for `response`"),
    system: called("what is said before all else"),
    category: called("the category, by which partitions deal"),
  })
  .refine(({ response, output }) => response === undefined || output === undefined, "response or output, not both");

export type FieldNames = Readonly<z.output<typeof namesSchema>>;

/** How records are read: every field under the names that may stand for it, and the column that says whose they are. */
export interface Naming {
  readonly names: Readonly<Record<Field, readonly string[]>>;
  readonly column?: string;
}

const usualNaming: Naming = { names: SPELLINGS };

/** A field that is named has this name alone. */
export function namingOf({ output, ...own }: FieldNames = {}, column?: string): Naming {
  const named = Object.entries({ ...own, ...given({ response: own.response ?? output }) });
  const names = { ...SPELLINGS, ...Object.fromEntries(named.map(([field, of]) => [field, [of]])) };
  return { names, ...given({ column }) };
}

/** Null for a record that is passed over; `reading` hears why. */
export function toExample(
  value: unknown,
  where: string,
  reading: Reading,
  naming: Naming = usualNaming,
): Example | null {
  if (!isFields(value)) {
    throw new InputError(`${where}: expected a JSON object with "instruction" and "response", got ${kindOf(value)}`);
  }
  const conversation = CONVERSATIONS.find((name) => has(value, name));
  const parts =
    conversation === undefined
      ? fromFields(value, where, reading, naming)
      : fromConversation(value, conversation, where, reading, naming);
  if (parts === null) return null;
  const category = text(value, naming.names.category, where) ?? "";
  const owner = naming.column === undefined ? {} : { owner: ownerIn(value, naming.column, where) };
  return { ...parts, category: category === "" ? NO_CATEGORY : category, ...owner };
}

/** Whose the example is: text, or a number as text. */
function ownerIn(record: Fields, column: string, where: string): string {
  const value = has(record, column) ? record[column] : "";
  const owner = typeof value === "number" ? String(value) : value;
  if (typeof owner === "string" && spoken(owner)) return owner;
  throw new InputError(
    `${where}: expected ${shown(column)}, the column that data.partition goes by, to be a text or a number, ` +
      `got ${value === "" ? "nothing" : kindOf(value)}`,
  );
}

type Parts = Omit<Example, "category" | "owner">;

function fromFields(record: Fields, where: string, reading: Reading, { names, column = "" }: Naming): Parts | null {
  const instruction = text(record, names.instruction, where);
  const response = text(record, names.response, where);
  if (instruction === null || response === null) {
    const spelled = names.instruction === SPELLINGS.instruction && names.response === SPELLINGS.response;
    const hint = spelled ? ' (or "output", or "messages"; docs/data.md has all spellings)' : "";
    throw new InputError(
      `${where}: expected a JSON object with ${shown(names.instruction[0]!)} and ${shown(names.response[0]!)}` +
        `${hint}, got ${kindOf(record)}`,
    );
  }
  tellUnread(record, [...Object.values(names).flat(), "history", column], where, reading);
  if (blank(response)) {
    reading.remark("passed over, the response is blank or null", where);
    return null;
  }
  const input = text(record, names.input, where) ?? "";
  if (blank(instruction) && blank(input)) {
    throw new InputError(`${where}: expected an instruction, got an empty one and no input`);
  }
  return { ...before(text(record, names.system, where) ?? "", historyOf(record, where)), instruction, input, response };
}

/** Alpaca with history: a list of questions with their answers. */
function historyOf(record: Fields, where: string): Exchange[] {
  const history = has(record, "history") ? record.history : [];
  if (!Array.isArray(history)) {
    throw new InputError(
      `${where}: expected "history" to be a list of [instruction, response], got ${kindOf(history)}`,
    );
  }
  return history.map((pair: unknown, at) => {
    if (Array.isArray(pair) && pair.length === 2 && pair.every((one) => typeof one === "string")) {
      return { instruction: pair[0] as string, response: pair[1] as string };
    }
    throw new InputError(`${where}: expected "history"[${at}] to be [instruction, response], got ${kindOf(pair)}`);
  });
}

const ROLES: ReadonlyMap<unknown, "system" | "user" | "assistant"> = new Map([
  ["system", "system"],
  ["developer", "system"],
  ["user", "user"],
  ["human", "user"],
  ["assistant", "assistant"],
  ["gpt", "assistant"],
] as const);

/** OpenAI (`role`, `content`) or ShareGPT (`from`, `value`). */
function fromConversation(
  record: Fields,
  name: string,
  where: string,
  reading: Reading,
  { names, column = "" }: Naming,
): Parts | null {
  const list = record[name];
  if (!Array.isArray(list)) {
    throw new InputError(`${where}: expected "${name}" to be a list of messages, got ${kindOf(list)}`);
  }
  tellUnread(record, [name, ...names.system, ...names.category, column], where, reading);
  const messages = list.map((message: unknown, at) => messageOf(message, `${where}: "${name}"[${at}]`, reading));
  const leading = messages.findIndex(({ role }) => role !== "system");
  const starts = leading < 0 ? messages.length : leading;
  const said = messages.slice(starts);
  const early = said[0]?.role === "assistant" ? 1 : 0;
  const late = said.at(-1)?.role === "user" ? 1 : 0;
  const dialogue = said.slice(early, said.length - late);
  const isPaired = dialogue.length > 0 && dialogue.length % 2 === 0;
  if (!isPaired || dialogue.some(({ role }, at) => role !== (at % 2 ? "assistant" : "user"))) {
    reading.remark("passed over, user and assistant do not take turns", where);
    return null;
  }
  if (dialogue.some((message) => blank(message.text))) {
    reading.remark("passed over, a message is blank or null", where);
    return null;
  }
  if (early > 0) reading.remark("left out, an answer at the beginning of a conversation", where);
  if (late > 0) reading.remark("left out, a question at the end of a conversation", where);
  // OpenAI's weights: answers of weight 0 carry no loss. The others need nothing that comes after the last of them.
  const learned = dialogue.findLastIndex(({ role, quiet }) => role === "assistant" && !quiet);
  if (learned < 0) {
    reading.remark("passed over, every answer has weight 0", where);
    return null;
  }
  const pairs = dialogue.slice(0, learned + 1).flatMap((message, at): Exchange[] => {
    if (at % 2 > 0) return [];
    const answer = dialogue[at + 1]!;
    return [{ instruction: message.text, response: answer.text, ...(answer.quiet && { quiet: true }) }];
  });
  const system = new Set([
    text(record, names.system, where) ?? "",
    ...messages.slice(0, starts).map((one) => one.text),
  ]);
  return { ...before([...system].filter(spoken).join("\n\n"), pairs.slice(0, -1)), input: "", ...pairs.at(-1)! };
}

interface Message {
  readonly role: "system" | "user" | "assistant" | "other";
  readonly text: string;
  /** An answer of weight 0. */
  readonly quiet: boolean;
}

function messageOf(message: unknown, where: string, reading: Reading): Message {
  if (!isFields(message)) throw new InputError(`${where}: expected a message, got ${kindOf(message)}`);
  const [from, content] = has(message, "role") ? ["role", "content"] : ["from", "value"];
  if (typeof message[from!] !== "string") {
    throw new InputError(`${where}: expected "role" and "content" (or "from" and "value"), got ${kindOf(message)}`);
  }
  tellUnread(message, [from!, content!], where, reading);
  const role = ROLES.get(message[from!]) ?? "other";
  const weight = has(message, "weight") ? message.weight : 1;
  if (weight !== 0 && weight !== 1)
    throw new InputError(`${where}: expected "weight" to be 0 or 1, got ${kindOf(weight)}`);
  if (has(message, "weight") && role !== "assistant") reading.remark(`not read: "weight" of no answer`, where);
  const quiet = weight === 0;
  const parts = message[content!];
  if (parts === null || parts === undefined || role === "other") return { role, text: "", quiet };
  if (typeof parts === "string") return { role, text: parts, quiet };
  if (Array.isArray(parts) && parts.every((part) => isFields(part) && typeof part.text === "string")) {
    return { role, text: parts.map((part: Fields) => part.text).join(""), quiet };
  }
  throw new InputError(`${where}: expected "${content}" to be a text, got ${kindOf(parts)}`);
}

/**
 * A field under whichever of its names has text; blank when none has, null when none is there.
 *
 * @throws InputError when two names have texts that differ: one of them would be lost
 */
function text(record: Fields, names: readonly string[], where: string): string | null {
  let found: { readonly name: string; readonly value: string } | null = null;
  for (const name of names) {
    if (!Object.hasOwn(record, name)) continue;
    const value = record[name] ?? "";
    if (typeof value !== "string") {
      throw new InputError(`${where}: expected "${name}" to be a string, got ${kindOf(value)}`);
    }
    if (found === null || blank(found.value)) found = { name, value };
    else if (spoken(value) && value !== found.value) {
      throw new InputError(
        `${where}: "${found.name}" and "${name}" are two names of one field, but their texts differ; expected one of them`,
      );
    }
  }
  return found?.value ?? null;
}

function tellUnread(record: Fields, read: readonly string[], where: string, reading: Reading): void {
  for (const [name, value] of Object.entries(record)) {
    if (read.includes(name)) continue;
    const tells = KNOWN.has(name) ? value !== null && value !== "" : looksLikeContent(value, 8);
    if (tells) reading.remark(`not read: ${shown(name)}`, where);
  }
}

/** Words in a row; not a number, a name, an address or a date. @param depth of lists and objects to look into */
function looksLikeContent(value: unknown, depth: number): boolean {
  if (typeof value === "string") return value.length >= 20 && value.trim().split(/\s+/, 4).length >= 4;
  if (typeof value !== "object" || value === null || depth === 0) return false;
  return Object.values(value).some((inner) => looksLikeContent(inner, depth - 1));
}

/** An example without them has no fields for them. */
const before = (system: string, history: readonly Exchange[]): Pick<Example, "system" | "history"> => ({
  ...(blank(system) ? {} : { system }),
  ...(history.length > 0 ? { history } : {}),
});

const has = (record: Fields, name: string): boolean => Object.hasOwn(record, name) && record[name] !== null;
const blank = (value: string | null): boolean => value === null || value.trim() === "";
const spoken = (value: string | null): boolean => !blank(value);
const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value !== "object") return `the ${typeof value} ${shown(String(value))}`;
  const names = Object.keys(value);
  if (names.length === 0) return "an object without fields";
  const more = names.length > 6 ? ", …" : "";
  return `an object with ${names.slice(0, 6).map(shown).join(", ")}${more}`;
}

/** A short, quoted beginning of somebody's text, without control characters. */
export const shown = (text: string): string =>
  JSON.stringify(printable(text.length > 40 ? `${text.slice(0, 40)}…` : text));
