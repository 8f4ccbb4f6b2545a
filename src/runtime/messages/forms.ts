/**
 * Sizes of records that look alike. Messages of one type have the same keys in the same order, mostly say the same words,
 * and differ in their numbers; a form remembers keys and words with their sizes, so that only the rest is measured anew.
 * A record that does not fit is walked in full by `plain.ts`, and the form learns from it.
 */
import { isHeld, measure, numberSize, type References, sizeOf, stringSize, wordSize } from "./plain.ts";

/** Longer texts are not worth remembering. */
const longestWord = 64;

/** What was last seen in one place of a message. */
export class Form {
  #keys: string[] = [];
  /** Of the keys and the record's own head; −1 before the first record. */
  #frame = -1;
  /** By field: the last text, with its size, and the form of the records. */
  #words: (string | null)[] = [];
  #wordSizes: number[] = [];
  #parts: (Form | null)[] = [];
  #refers = false;

  /** What {@link measure} says of the record, and does with `refs`. */
  measure(record: object, refs: References): number {
    try {
      return this.#sizeOf(record as Record<string, unknown>, 0, refs);
    } catch {
      // Says where it is not plain.
      return measure(record, refs);
    }
  }

  #sizeOf(record: Record<string, unknown>, depth: number, refs: References): number {
    const keys = this.#keys;
    let bytes = this.#frame;
    if (bytes < 0 || Object.getPrototypeOf(record) !== Object.prototype) return this.#learn(record, depth, refs);
    let at = 0;
    for (const key in record) {
      if (key !== keys[at]) return this.#learn(record, depth, refs);
      const value = record[key];
      if (typeof value === "number") bytes += numberSize(value);
      else if (typeof value === "string")
        bytes += value === this.#words[at] ? this.#wordSizes[at]! : this.#word(value, at);
      else if (typeof value !== "object" || value === null || Array.isArray(value) || ArrayBuffer.isView(value)) {
        bytes += sizeOf(value, depth + 1, refs);
      } else bytes += this.#part(at).#sizeOf(value as Record<string, unknown>, depth + 1, refs);
      at++;
    }
    if (at !== keys.length) return this.#learn(record, depth, refs);
    if (this.#refers && isHeld(record)) refs.add(record);
    return bytes;
  }

  #learn(record: Record<string, unknown>, depth: number, refs: References): number {
    const bytes = sizeOf(record, depth, refs);
    if (Object.getPrototypeOf(record) !== Object.prototype) return bytes;
    const keys = Object.keys(record);
    this.#keys = keys;
    this.#frame = keys.length < 0x10 ? 1 : keys.length < 0x10000 ? 3 : 5;
    for (const key of keys) this.#frame += wordSize(key);
    this.#words = keys.map(() => null);
    this.#wordSizes = keys.map(() => 0);
    this.#parts = keys.map(() => null);
    this.#refers = keys.includes("ref");
    return bytes;
  }

  #word(word: string, at: number): number {
    const size = stringSize(word);
    if (word.length > longestWord) return size;
    this.#words[at] = word;
    this.#wordSizes[at] = size;
    return size;
  }

  #part(at: number): Form {
    this.#parts[at] ??= new Form();
    return this.#parts[at]!;
  }
}
