/**
 * What one record of somebody's file says. docs/data.md has the table of all spellings.
 *
 *   {"instruction": "…", "input": "…", "output": "…", "system": "…", "history": [["…", "…"], …], "category": "…"}
 *   {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}, …]}
 *
 * Every field is read, refused, or spoken of as not read if it looks like content. Only own fields count.
 */
import { InputError } from "../base/errors.ts";
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

/** Null for a record that is passed over; `reading` hears why. */
export function toExample(value: unknown, where: string, reading: Reading): Example | null {
  if (!isFields(value)) {
    throw new InputError(`${where}: expected a JSON object with "instruction" and "response", got ${kindOf(value)}`);
  }
  const conversation = CONVERSATIONS.find((name) => has(value, name));
  const parts =
    conversation === undefined
      ? fromFields(value, where, reading)
      : fromConversation(value, conversation, where, reading);
  if (parts === null) return null;
  const category = text(value, "category", where) ?? "";
  return { ...parts, category: category === "" ? NO_CATEGORY : category };
}

type Parts = Omit<Example, "category">;

function fromFields(record: Fields, where: string, reading: Reading): Parts | null {
  const instruction = text(record, "instruction", where);
  const response = text(record, "response", where);
  if (instruction === null || response === null) {
    throw new InputError(
      `${where}: expected a JSON object with "instruction" and "response" (or "output", or "messages"; docs/data.md ` +
        `has all spellings), got ${kindOf(record)}`,
    );
  }
  tellUnread(record, [...Object.values(SPELLINGS).flat(), "history"], where, reading);
  if (blank(response)) {
    reading.remark("passed over, the response is blank or null", where);
    return null;
  }
  const input = text(record, "input", where) ?? "";
  if (blank(instruction) && blank(input)) {
    throw new InputError(`${where}: expected an instruction, got an empty one and no input`);
  }
  return { ...before(text(record, "system", where) ?? "", historyOf(record, where)), instruction, input, response };
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
function fromConversation(record: Fields, name: string, where: string, reading: Reading): Parts | null {
  const list = record[name];
  if (!Array.isArray(list)) {
    throw new InputError(`${where}: expected "${name}" to be a list of messages, got ${kindOf(list)}`);
  }
  tellUnread(record, [name, ...SPELLINGS.system, ...SPELLINGS.category], where, reading);
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
  const system = new Set([text(record, "system", where) ?? "", ...messages.slice(0, starts).map((one) => one.text)]);
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
function text(record: Fields, field: Field, where: string): string | null {
  let found: { readonly name: string; readonly value: string } | null = null;
  for (const name of SPELLINGS[field]) {
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
