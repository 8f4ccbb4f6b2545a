/**
 * Rows as the bytes of JSON lines, byte for byte what `JSON.stringify` would give, in a third of its time: no string is
 * built that would only be hashed and thrown away. A run writes two rows for every event.
 */

/** Small and flat. Keys keep their order; what JSON cannot say (NaN, infinities) becomes null. */
export interface TraceRow {
  /** Virtual time in milliseconds. */
  readonly t: number;
  readonly type: string;
  readonly [field: string]: string | number | boolean | null | undefined | readonly (string | number)[];
}

/** Bytes that stand in many rows, in words of eight: a word is written at once, and what follows overwrites its rest. */
export class Piece {
  readonly length: number;
  readonly words: Float64Array;

  /** @param text as it stands in JSON. UTF-8 has no eight bytes that read as NaN, of which there are several. */
  constructor(text: string) {
    const bytes = new TextEncoder().encode(text);
    this.length = bytes.length;
    const padded = new DataView(new ArrayBuffer(Math.ceil(bytes.length / 8) * 8));
    for (const [at, byte] of bytes.entries()) padded.setUint8(at, byte);
    this.words = Float64Array.from({ length: padded.byteLength / 8 }, (_, at) => padded.getFloat64(8 * at, true));
  }
}

/**
 * What all rows of one type have in common: their type and the names of their fields, in order, as bytes. The rows a
 * run writes by the million are written by shape, without an object for each.
 */
export class RowShape {
  /** `,"type":"sent","n":`, then what stands before the second field: `,"from":`, … */
  readonly parts: readonly Piece[];
  /** Bytes that a row takes at most whose values are short. */
  readonly room: number;

  /** @param first the field that every row has */
  constructor(type: string, first: string, ...fields: readonly string[]) {
    const texts = [`,"type":${quoted(type)},${quoted(first)}:`, ...fields.map((field) => `,${quoted(field)}:`)];
    this.parts = texts.map((text) => new Piece(text));
    this.room = this.parts.reduce((sum, { length }) => sum + length + shortValue, shortValue);
  }
}

const quote = 0x22;
const backslash = 0x5c;
/** The digits of 00 to 99. */
const pairs = Uint8Array.from({ length: 200 }, (_, i) => 0x30 + (i % 2 === 0 ? Math.floor(i / 20) : (i >> 1) % 10));
/** The smallest numbers of 1, 2, … digits. */
const powers = Float64Array.from({ length: 10 }, (_, i) => (i === 0 ? 0 : 10 ** i));
const head = new Piece('{"t":');
/** Values that take no more bytes than this, with the rest of a word and a number after them, have their room already. */
const shortValue = 48;
const longestShort = 24;
/** Words that are remembered as pieces. */
const mostWords = 16;

export class RowBytes {
  #bytes = Buffer.alloc(1 << 16);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;
  /** Of the row that is being written by shape, and its next field. */
  #shape: RowShape | null = null;
  #field = 0;
  #begun = 0;
  readonly #words: string[] = [];
  readonly #pieces: Piece[] = [];

  get length(): number {
    return this.#length;
  }

  /** Valid until the next row. */
  bytes(from = 0): Uint8Array {
    return this.#bytes.subarray(from, this.#length);
  }

  clear(): void {
    this.#length = 0;
  }

  /** The row's line with its line feed. */
  add(row: TraceRow): void {
    let mark = 0x7b;
    for (const key in row) {
      const value = row[key];
      if (value === undefined) continue;
      this.#reserve(key.length + 2 * longestShort);
      this.#bytes[this.#length++] = mark;
      mark = 0x2c;
      this.#text(key);
      this.#bytes[this.#length++] = 0x3a;
      if (typeof value === "string") this.#text(value);
      else if (typeof value === "number") this.#number(value);
      else this.addText(JSON.stringify(value));
    }
    this.end();
  }

  /** Begins a row. Its fields follow in the order of the shape, one call for each, and then `end`. */
  begin(shape: RowShape, t: number): this {
    this.#reserve(shape.room);
    this.#shape = shape;
    this.#field = 0;
    this.#begun = this.#length;
    this.#piece(head);
    this.#number(t);
    return this;
  }

  number(value: number): this {
    this.#name();
    this.#number(value);
    return this;
  }

  /** A text as it stands in JSON, quotes included. */
  piece(text: Piece): this {
    this.#name();
    this.#piece(text);
    return this;
  }

  /** A text from a small vocabulary. */
  word(text: string): this {
    const words = this.#words;
    for (let i = 0; i < words.length; i++) if (words[i] === text) return this.piece(this.#pieces[i]!);
    if (words.length < mostWords && text.length <= longestShort) {
      words.push(text);
      this.#pieces.push(new Piece(quoted(text)));
    }
    return this.text(text);
  }

  /** The text that `prefix` begins, opening quote included, and a number of at least three digits ends. */
  numbered(prefix: Piece, number: number): this {
    this.#name();
    this.#piece(prefix);
    if (number < 100) this.#bytes[this.#length++] = 0x30;
    if (number < 10) this.#bytes[this.#length++] = 0x30;
    this.#number(number);
    this.#bytes[this.#length++] = quote;
    return this;
  }

  /** Undefined where the row does not have the field. */
  text(value: string | undefined): this {
    if (value === undefined) {
      this.#field++;
      return this;
    }
    this.#name();
    this.#text(value);
    return this;
  }

  boolean(value: boolean): this {
    this.#name();
    this.addText(value ? "true" : "false");
    return this;
  }

  /** The row that is being written, with the fields it has so far. */
  current(): TraceRow {
    return JSON.parse(`${this.bytes(this.#begun).toString()}}`) as TraceRow;
  }

  end(): void {
    this.#reserve(2);
    this.#bytes[this.#length++] = 0x7d;
    this.#bytes[this.#length++] = 0x0a;
  }

  /** Text as it stands. */
  addText(text: string): void {
    this.#reserve(3 * text.length);
    this.#length += this.#bytes.write(text, this.#length, "utf8");
  }

  #name(): void {
    this.#piece(this.#shape!.parts[this.#field++]!);
  }

  #piece({ words, length }: Piece): void {
    if (length > longestShort) this.#reserve(length + 8);
    const view = this.#view;
    const from = this.#length;
    for (let i = 0; i < words.length; i++) view.setFloat64(from + 8 * i, words[i]!, true);
    this.#length = from + length;
  }

  #text(text: string): void {
    const { length } = text;
    if (length > longestShort) this.#reserve(length + 8);
    const bytes = this.#bytes;
    let at = this.#length;
    bytes[at++] = quote;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code < 0x20 || code > 0x7e || code === quote || code === backslash) {
        this.addText(quoted(text));
        return;
      }
      bytes[at++] = code;
    }
    bytes[at++] = quote;
    this.#length = at;
  }

  #number(value: number): void {
    if (value >>> 0 !== value) {
      this.addText(JSON.stringify(value));
      return;
    }
    // log₁₀ 2 is 1233 ÷ 4096 for as many bits as there are here.
    const atLeast = ((32 - Math.clz32(value)) * 1233) >> 12;
    const bytes = this.#bytes;
    let at = this.#length + (value >= powers[atLeast]! ? atLeast + 1 : atLeast);
    this.#length = at;
    let rest = value >>> 0;
    // Two digits to a division, which is what takes time here.
    while (rest >= 100) {
      const hundredth = (rest / 100) >>> 0;
      const pair = 2 * (rest - 100 * hundredth);
      bytes[--at] = pairs[pair + 1]!;
      bytes[--at] = pairs[pair]!;
      rest = hundredth;
    }
    if (rest >= 10) {
      bytes[--at] = pairs[2 * rest + 1]!;
      bytes[--at] = pairs[2 * rest]!;
    } else bytes[--at] = 0x30 + rest;
  }

  #reserve(count: number): void {
    count += this.#shape?.room ?? 0;
    if (this.#length + count <= this.#bytes.length) return;
    const larger = Buffer.alloc(2 * (this.#length + count));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

/** U+2028 and U+2029 end a line for Node's `readline`, and may stand unescaped in JSON. */
function quoted(text: string): string {
  return JSON.stringify(text).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
}
