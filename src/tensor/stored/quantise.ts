/**
 * Rounds matrices to int8 or int4 in blocks of 32 rows of a column, with nothing but the block's largest number to go by.
 *
 *   int8   s = |m| ÷ 127     q = round(w ÷ s)                m the number of largest magnitude
 *   int4   s = −m ÷ 8        q = round(w ÷ s), −8 … 7
 *
 * With m at −8 all sixteen levels are used: on normal numbers the error is 8.6 % of them (root mean square), against 9.7 %
 * with ±7. s is rounded away from 0 to bfloat16 before anything is divided by it, which costs 0.2 % of that error.
 */
import { blockRows, bytesOf } from "./stored.ts";

export interface Quantised {
  /** `[rows, columns]`; two int4 to a byte. */
  readonly integers: Uint8Array;
  /** bfloat16 patterns, `[⌈rows ÷ 32⌉, columns]`. */
  readonly scales: Uint16Array;
}

/**
 * @param values finite, `[rows, columns]`, row-major; an even number of them for int4
 * @param widened receives what `integers` and `scales` stand for
 */
export function quantise(
  values: Float32Array,
  columns: number,
  type: "int8" | "int4",
  widened: Float32Array,
): Quantised {
  const rows = values.length / columns;
  const blocks = Math.ceil(rows / blockRows);
  const scales = new Uint16Array(blocks * columns);
  const integers = new Uint8Array(bytesOf(type, values.length));
  const [lowest, highest] = type === "int8" ? [-127, 127] : [-8, 7];
  const extremes = new Float32Array(columns);
  const factors = new Float32Array(columns);
  const patterns = new Uint32Array(factors.buffer);
  for (let block = 0; block < blocks; block++) {
    const [start, end] = [block * blockRows * columns, Math.min((block + 1) * blockRows, rows) * columns];
    extremes.fill(0);
    for (let at = start, column = 0; at < end; at++, column = column + 1 === columns ? 0 : column + 1) {
      if (Math.abs(values[at]!) > Math.abs(extremes[column]!)) extremes[column] = values[at]!;
    }
    for (let column = 0; column < columns; column++) {
      factors[column] = extremes[column]! / (type === "int8" ? 127 : -8);
      patterns[column] = (patterns[column]! + 0xffff) & 0xffff0000;
      scales[block * columns + column] = patterns[column]! >>> 16;
    }
    for (let at = start, column = 0; at < end; at++, column = column + 1 === columns ? 0 : column + 1) {
      const scale = factors[column]!;
      const level = scale === 0 ? 0 : Math.min(highest, Math.max(lowest, Math.round(values[at]! / scale)));
      widened[at] = level * scale;
      if (type === "int8") integers[at] = level;
      else integers[at >> 1]! |= (level & 15) << (at % 2 === 0 ? 0 : 4);
    }
  }
  return { integers, scales };
}
