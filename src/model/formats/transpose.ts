/** Transposes between the `[out, in]` of Hugging Face and the `[in, out]` of the executors, on parts of matrices. */

/** Side of the square moved at a time, so that both sides of the move stay in cache. */
const tile = 32;

/**
 * `target[i, targetColumn + o] = source[o, sourceColumn + i]` for `o < outputs`, `i < inputs`: moves a rectangle and
 * turns it.
 *
 * @param sourceWidth columns of the source matrix, row-major
 * @param targetWidth columns of the target matrix, row-major
 */
export function transposeInto<Values extends Float32Array | Uint16Array>(
  source: Values,
  sourceWidth: number,
  sourceColumn: number,
  target: Values,
  targetWidth: number,
  targetColumn: number,
  outputs: number,
  inputs: number,
): void {
  for (let o0 = 0; o0 < outputs; o0 += tile) {
    const o1 = Math.min(o0 + tile, outputs);
    for (let i0 = 0; i0 < inputs; i0 += tile) {
      const i1 = Math.min(i0 + tile, inputs);
      for (let o = o0; o < o1; o++) {
        const from = o * sourceWidth + sourceColumn;
        for (let i = i0; i < i1; i++) target[i * targetWidth + targetColumn + o] = source[from + i]!;
      }
    }
  }
}
