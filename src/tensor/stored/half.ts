/**
 * 16-bit floats. float16 is IEEE 754 binary16 (1 sign, 5 exponent, 10 fraction bits); bfloat16 is the upper half of a
 * float32. Widening is exact; narrowing rounds to nearest, ties to even, keeps the sign of zero, turns what is too
 * large into infinity and keeps NaN a NaN.
 */

/** A float16 bit pattern as a number. */
function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** All 65,536 patterns, so that a bulk conversion is a look-up. Built when first needed. */
let halves: Float32Array | undefined;

/** Widens float16 patterns into `target`, which has the same length. */
export function widenHalf(bits: Uint16Array, target: Float32Array): void {
  halves ??= Float32Array.from({ length: 0x10000 }, (_, pattern) => halfToFloat(pattern));
  for (let i = 0; i < bits.length; i++) target[i] = halves[bits[i]!]!;
}

/** Widens bfloat16 patterns into `target`, which has the same length. */
export function widenBfloat(bits: Uint16Array, target: Float32Array): void {
  const words = new Uint32Array(target.buffer, target.byteOffset, target.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
}

/** Narrows to float16 patterns. */
export function narrowHalf(values: Float32Array, target: Uint16Array): void {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < values.length; i++) target[i] = halfBits(words[i]!);
}

/** Narrows to bfloat16 patterns. */
export function narrowBfloat(values: Float32Array, target: Uint16Array): void {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < values.length; i++) {
    const word = words[i]!;
    const notANumber = (word & 0x7fffffff) > 0x7f800000;
    // Adding just under half a unit, plus the last kept bit, carries exactly when rounding goes up.
    target[i] = notANumber ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
}

/** The float16 pattern nearest to the float32 with these bits. */
function halfBits(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // 65520 and above round past the largest finite value, 65504.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Below 2⁻¹⁴ the result is a multiple of 2⁻²⁴; at 2⁻²⁵ and below it is 0, the tie included.
    if (magnitude <= 0x33000000) return sign;
    const significand = (magnitude & 0x7fffff) | 0x800000;
    return sign | roundShift(significand, 126 - (magnitude >>> 23));
  }
  return sign | (roundShift(magnitude, 13) - (112 << 10));
}

/** `value / 2^shift`, to the nearest integer, ties to even; `1 ≤ shift ≤ 24`. */
function roundShift(value: number, shift: number): number {
  const kept = value >>> shift;
  const rest = value & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return rest > half || (rest === half && (kept & 1) === 1) ? kept + 1 : kept;
}
