/**
 * The user's own examples, as a JSON array, as JSON Lines or as Parquet, told apart by content; `fields.ts` says what a record is.
 *
 * The file is streamed, and hostile until parsed: line and record sizes, nesting and counts are bounded, and every error
 * names file, line and, in an array, the element.
 */
import type { Hash } from "node:crypto";
import { basename } from "node:path";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { jsonParser, type Token } from "stream-json/parser.js";
import { InputError, messageOf } from "../base/errors.ts";
import { occursTwice, repeatedNames } from "../base/json.ts";
import { streamOf } from "../base/open.ts";
import { printable } from "../base/text.ts";
import type { Example } from "./example.ts";
import { type Naming, shown, toExample } from "./fields.ts";
import { type Chunks, linePieces, type Opening, openText, type Piece, wholeLines } from "./lines.ts";
import { isParquet, parquetRows } from "./parquet/rows.ts";
import { Reading } from "./reading.ts";

/** @internal */
export interface ReadLimits {
  /** Bytes of one line of JSON Lines, and characters of one array element. */
  readonly recordBytes: number;
  /** Nesting of one array element. */
  readonly depth: number;
  readonly records: number;
}

/** @internal */
export const READ_LIMITS: ReadLimits = { recordBytes: 4 * 2 ** 20, depth: 64, records: 10_000_000 };

/**
 * Streams the examples of a file in its order. Records whose response is blank teach nothing and are passed over.
 *
 * @param reading hears of all that is passed over
 * @param hash takes the bytes as they are read; when all examples are through it has seen the whole file
 */
export async function* readExamples(
  path: string,
  reading?: Reading,
  hash?: Hash,
  naming?: Naming,
): AsyncGenerator<Example> {
  const name = basename(path);
  if (isParquet(path)) {
    if (hash !== undefined) for await (const chunk of streamOf(path)) hash.update(chunk);
    yield* examplesOf(rowsOf(path, name), name, READ_LIMITS, reading ?? new Reading(), naming);
  } else {
    yield* parseExamples(fileChunks(path, hash), name, READ_LIMITS, reading, naming);
  }
}

async function* rowsOf(path: string, name: string): AsyncGenerator<Found> {
  for await (const { value, row } of parquetRows(path, name)) yield { value, where: `${name} row ${row}` };
}

/** @internal As {@link readExamples}, from bytes of any origin. `name` stands in front of every error. */
export async function* parseExamples(
  chunks: Chunks,
  name: string,
  limits: ReadLimits = READ_LIMITS,
  reading = new Reading(),
  naming?: Naming,
): AsyncGenerator<Example> {
  const opening = await openText(chunks, name, limits.recordBytes);
  if (opening.text === null) {
    throw new InputError(`${name} is empty; expected a JSON array or JSON Lines of instructions`);
  }
  yield* examplesOf(recordsOf(opening, opening.text, name, limits), name, limits, reading, naming);
}

async function* examplesOf(
  found: AsyncIterable<Found>,
  name: string,
  limits: ReadLimits,
  reading: Reading,
  naming?: Naming,
): AsyncGenerator<Example> {
  let records = 0;
  for await (const { value, where } of found) {
    if (++records > limits.records) throw new InputError(`${where}: expected at most ${limits.records} records`);
    const example = toExample(value, where, reading, naming);
    if (example !== null) yield example;
  }
  if (records === 0) throw new InputError(`${name}: expected at least one example, got none`);
}

interface Found {
  readonly value: unknown;
  /** `data.jsonl line 17`, `data.json element 3 (line 20)` */
  readonly where: string;
}

/** The first character decides. */
function recordsOf({ chunks, line }: Opening, text: string, name: string, limits: ReadLimits): AsyncGenerator<Found> {
  if (text.startsWith("[")) return elements(chunks, name, limits);
  if (text.startsWith("{")) return lineRecords(chunks, name, limits);
  throw new InputError(
    `${name} line ${line}: expected "[" of a JSON array or "{" of JSON Lines, got ${shown(text.split("\n")[0]!)}`,
  );
}

async function* lineRecords(chunks: Chunks, name: string, { recordBytes }: ReadLimits): AsyncGenerator<Found> {
  for await (const { text, line } of wholeLines(chunks, name, recordBytes)) {
    if (text.trim() === "") continue;
    const where = `${name} line ${line}`;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new InputError(
        `${where}: expected a JSON object with "instruction" and "response", got ${shown(text)} ` +
          `(${printable(messageOf(cause))})`,
        { cause },
      );
    }
    const [twice] = repeatedNames(text);
    if (twice !== undefined) throw new InputError(`${where}: ${occursTwice(twice)}`);
    yield { value, where };
  }
}

async function* elements(chunks: Chunks, name: string, limits: ReadLimits): AsyncGenerator<Found> {
  const parser = new ArrayParser(name, limits);
  let lastLine = 1;
  for await (const piece of linePieces(chunks, name)) {
    lastLine = piece.line;
    yield* parser.feed(piece);
  }
  parser.finish(lastLine);
}

/** Elements of one array, built from the tokens of stream-json. */
class ArrayParser {
  readonly #name: string;
  readonly #limits: ReadLimits;
  readonly #tokens = jsonParser({ packValues: true, streamValues: false });
  /** Open containers of the element, outermost first. */
  readonly #open: Container[] = [];
  #state: "before" | "inside" | "after" = "before";
  #element = 0;
  #startLine = 1;
  /** Characters since an element ended. */
  #size = 0;

  constructor(name: string, limits: ReadLimits) {
    this.#name = name;
    this.#limits = limits;
  }

  /** Pieces never span lines, so the line of every token is known. */
  *feed({ text, line }: Piece): Generator<Found> {
    // The parser gives no tokens of a part that it refuses: what precedes an error has to be taken before.
    for (const part of text.split(/(?<=\})/)) {
      this.#size += part.length;
      for (const token of this.#tokenize(part, line)) {
        const whole = this.#take(token, line);
        if (whole === undefined) continue;
        yield { value: whole.value, where: this.#where() };
        this.#element++;
        this.#size = 0;
      }
    }
    if (this.#size > this.#limits.recordBytes) {
      throw new InputError(
        `${this.#name} element ${this.#element} (line ${line}): expected at most ${this.#limits.recordBytes} ` +
          "characters, got more",
      );
    }
  }

  finish(lastLine: number): void {
    if (this.#state === "after") return;
    throw new InputError(
      `${this.#name} line ${lastLine}: the file ends inside the array, after ${this.#element} whole elements`,
    );
  }

  #where(): string {
    return `${this.#name} element ${this.#element} (line ${this.#startLine})`;
  }

  #tokenize(piece: string, line: number): readonly Token[] {
    try {
      const tokens = this.#tokens(piece);
      return typeof tokens === "symbol" ? [] : (tokens as { values: Token[] }).values;
    } catch (cause) {
      const reason = messageOf(cause).replace(/^Parser (cannot parse input: |has )/, "");
      const place = this.#state === "after" ? "after the array" : `in element ${this.#element}`;
      throw new InputError(`${this.#name} line ${line}: not JSON ${place}: ${reason}`, { cause });
    }
  }

  /** The element that this token completes, if it does. */
  #take(token: Token, line: number): { readonly value: unknown } | undefined {
    if (this.#state === "before") {
      this.#state = "inside";
      return undefined;
    }
    if (this.#open.length === 0) {
      if (token.name === "endArray") {
        this.#state = "after";
        return undefined;
      }
      this.#startLine = line;
    }
    switch (token.name) {
      case "startObject":
      case "startArray":
        if (this.#open.length === this.#limits.depth) {
          throw new InputError(`${this.#where()}: expected at most ${this.#limits.depth} levels of nesting`);
        }
        this.#open.push(new Container(token.name === "startArray"));
        return undefined;
      case "endObject":
      case "endArray":
        return this.#put(this.#open.pop()!.value);
      case "keyValue":
        if (!this.#open.at(-1)!.begin(token.value))
          throw new InputError(`${this.#where()}: ${occursTwice(token.value)}`);
        return undefined;
      case "stringValue":
      case "nullValue":
      case "trueValue":
      case "falseValue":
        return this.#put(token.value);
      case "numberValue":
        return this.#put(Number(token.value));
      default:
        return undefined;
    }
  }

  #put(value: unknown): { readonly value: unknown } | undefined {
    const container = this.#open.at(-1);
    if (container === undefined) return { value };
    container.add(value);
    return undefined;
  }
}

class Container {
  readonly value: unknown[] | Record<string, unknown>;
  #name = "";

  constructor(isArray: boolean) {
    // No prototype, so that a key like __proto__ is a key like any other.
    this.value = isArray ? [] : Object.create(null);
  }

  /** @returns false if the object has the name already */
  begin(name: string): boolean {
    this.#name = name;
    return !Object.hasOwn(this.value, name);
  }

  add(value: unknown): void {
    if (Array.isArray(this.value)) this.value.push(value);
    else this.value[this.#name] = value;
  }
}

/** What begins like gzip is unpacked, whatever its name; `hash` sees the file as it lies on disk. */
async function* fileChunks(path: string, hash?: Hash): AsyncGenerator<Uint8Array> {
  try {
    const chunks = streamOf(path)[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
    const first = await chunks.next();
    const stored = async function* (): AsyncGenerator<Uint8Array> {
      for (let next = first; next.done !== true; next = await chunks.next()) {
        hash?.update(next.value);
        yield next.value;
      }
    };
    const packed = first.done !== true && first.value[0] === 0x1f && first.value[1] === 0x8b;
    // An error on the way reaches whoever reads the last stream.
    yield* packed ? pipeline(stored(), createGunzip(), () => {}) : stored();
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}
