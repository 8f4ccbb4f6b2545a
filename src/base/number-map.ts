/**
 * A map whose keys are whole numbers, for entries that come and go by the million.
 *
 * A `Map` keeps the holes of deleted entries and copies itself to get rid of them; with a thousand entries under way
 * that was a tenth of all memory a run allocates. Here keys lie in a typed array, found by open addressing: an entry
 * stands at its hash or in the first free place after it, and a removal moves later ones back over the hole.
 */

const none = -1;
const leastCapacity = 16;

export class NumberMap<Value> {
  #keys = new Float64Array(leastCapacity).fill(none);
  #values: (Value | undefined)[] = new Array<Value | undefined>(leastCapacity).fill(undefined);
  #size = 0;
  /** 32 less the bits of a place. */
  #shift = 28;

  constructor(entries: Iterable<readonly [key: number, value: Value]> = []) {
    for (const [key, value] of entries) this.set(key, value);
  }

  get size(): number {
    return this.#size;
  }

  get(key: number): Value | undefined {
    return this.#values[this.#placeOf(key)];
  }

  has(key: number): boolean {
    return this.#keys[this.#placeOf(key)] === key;
  }

  /** @param key a whole number, `0 ≤ key < 2⁵³` */
  set(key: number, value: Value): void {
    let place = this.#placeOf(key);
    if (this.#keys[place] !== key) {
      // At most half full, so that probes stay short.
      if (2 * ++this.#size > this.#keys.length) {
        this.#grow();
        place = this.#placeOf(key);
      }
      this.#keys[place] = key;
    }
    this.#values[place] = value;
  }

  /** Removes the entry. Undefined if there is none. */
  take(key: number): Value | undefined {
    const keys = this.#keys;
    const values = this.#values;
    let hole = this.#placeOf(key);
    if (keys[hole] !== key) return undefined;
    const value = values[hole];
    const mask = keys.length - 1;
    for (let place = (hole + 1) & mask; keys[place] !== none; place = (place + 1) & mask) {
      // An entry may move back as far as its hash, and no further.
      const home = this.#hash(keys[place]!);
      if (((place - home) & mask) < ((place - hole) & mask)) continue;
      keys[hole] = keys[place]!;
      values[hole] = values[place];
      hole = place;
    }
    keys[hole] = none;
    values[hole] = undefined;
    this.#size--;
    return value;
  }

  clear(): void {
    if (this.#size === 0) return;
    this.#keys.fill(none);
    this.#values.fill(undefined);
    this.#size = 0;
  }

  /** Ascending. */
  keys(): number[] {
    return [...this.#keys.filter((key) => key !== none).sort()];
  }

  /** In ascending order of their keys. */
  values(): Value[] {
    return this.keys().map((key) => this.get(key)!);
  }

  /** In ascending order of their keys. */
  entries(): [key: number, value: Value][] {
    return this.keys().map((key) => [key, this.get(key)!]);
  }

  /** Where the key stands, or the free place where it would. */
  #placeOf(key: number): number {
    const keys = this.#keys;
    const mask = keys.length - 1;
    let place = this.#hash(key);
    for (let found = keys[place]!; found !== key && found !== none; found = keys[place]!) place = (place + 1) & mask;
    return place;
  }

  /** Multiplication by 2³² ÷ golden ratio spreads the consecutive numbers that keys mostly are. */
  #hash(key: number): number {
    return Math.imul(key, 0x9e3779b1) >>> this.#shift;
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#keys = new Float64Array(2 * keys.length).fill(none);
    this.#values = new Array<Value | undefined>(2 * keys.length).fill(undefined);
    this.#shift--;
    for (let i = 0; i < keys.length; i++) {
      if (keys[i] === none) continue;
      const place = this.#placeOf(keys[i]!);
      this.#keys[place] = keys[i]!;
      this.#values[place] = values[i];
    }
  }
}
