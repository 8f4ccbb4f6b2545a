/**
 * Units of the simulated world. Virtual time is whole milliseconds, so sums of durations are exact and a trace
 * prints the same digits everywhere.
 */

/** Virtual time or a duration, in whole milliseconds. */
export type Millis = number & { readonly unit: "ms" };

/** A transfer rate in bytes per second of virtual time. */
export type BytesPerSecond = number & { readonly unit: "B/s" };

/** Rounds up: work that takes any time at all takes at least a millisecond. */
export const millis = (ms: number): Millis => Math.ceil(ms) as Millis;
export const seconds = (s: number): Millis => millis(s * 1_000);
export const minutes = (m: number): Millis => millis(m * 60_000);
export const hours = (h: number): Millis => millis(h * 3_600_000);
export const days = (d: number): Millis => millis(d * 86_400_000);

/** No time in a scenario is longer: sums of such times are still whole milliseconds. */
export const longestTime = days(366_000);

/** Network rates are quoted in bits; 8 megabit/s move 1,000,000 bytes a second. */
export const megabits = (perSecond: number): BytesPerSecond => ((perSecond * 1e6) / 8) as BytesPerSecond;
export const megabytes = (perSecond: number): BytesPerSecond => (perSecond * 1e6) as BytesPerSecond;

/** `after(t, d)` is the instant `d` after `t`. */
export const after = (time: Millis, duration: Millis): Millis => (time + duration) as Millis;

/** `1d02h`, `2h05m`, `12m30.5s`, `4.25s`, `7ms`: the shortest form a reader can compare. Rounded to nearest. */
export function formatTime(time: number): string {
  const two = (value: number) => String(value).padStart(Number.isInteger(value) ? 2 : 4, "0");
  const ms = Math.round(time);
  if (ms < 1_000) return `${ms}ms`;
  const hundredths = Math.round(time / 10);
  if (hundredths < 6_000) return `${hundredths / 100}s`;
  const tenths = Math.round(time / 100);
  if (tenths < 36_000) return `${Math.floor(tenths / 600)}m${two((tenths % 600) / 10)}s`;
  const minutes = Math.round(time / 60_000);
  if (minutes < 1_440) return `${Math.floor(minutes / 60)}h${two(minutes % 60)}m`;
  const hours = Math.round(time / 3_600_000);
  return `${Math.floor(hours / 24)}d${two(hours % 24)}h`;
}

/** `41.2 %`, `60 %`: a share of 1, in at most so many decimals. */
export const formatShare = (share: number, digits = 1): string => `${Number((share * 100).toFixed(digits))} %`;

/** `812 B`, `1.2 MB`: decimal prefixes, three significant digits. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (Number(value.toPrecision(3)) >= 1_000 && unit < units.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${Number(value.toPrecision(3))} ${units[unit]}`;
}
