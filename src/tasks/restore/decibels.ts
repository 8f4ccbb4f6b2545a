/** Peak signal-to-noise ratio of a picture whose white is 1: 10·log₁₀ 1 ÷ mean squared error. */
export function decibels(restored: Float32Array, high: Float32Array): number {
  let square = 0;
  for (let i = 0; i < high.length; i++) square += (restored[i]! - high[i]!) ** 2;
  return -10 * Math.log10(square / high.length);
}
