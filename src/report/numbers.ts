/** How the report writes numbers, and how it thins long series. */
import type { Metric } from "../tasks/facts.ts";

const finite = (value: number, write: (value: number) => string): string =>
  Number.isFinite(value) ? write(value) : "not finite";

/** `12,345` */
export const whole = (value: number): string => value.toLocaleString("en-US", { maximumFractionDigits: 0 });
/** `1 seed`, `3 seeds` */
export const plural = (count: number, one: string, many: string): string =>
  `${whole(count)} ${count === 1 ? one : many}`;
/** `2.314` nats; three decimals tell two runs apart. */
export const nats = (value: number): string => finite(value, (v) => v.toFixed(3));
/** `41.2 %` */
export const percent = (share: number): string => finite(share, (v) => `${(v * 100).toFixed(1)} %`);
/** `+0.120`, `−1.003`: a true minus sign, so that columns line up. */
export const signed = (value: number, digits = 3): string =>
  finite(value, (v) => `${v < 0 ? "−" : "+"}${Math.abs(v).toFixed(digits)}`);
/** Difference of two shares in percentage points. */
export const points = (value: number): string => finite(value, (v) => `${signed(v * 100, 1)} pp`);
/** `part ÷ all` as a percentage; a dash where there is nothing to divide. */
export const shareOf = (part: number, all: number): string => (all === 0 ? "–" : percent(part / all));

export interface Scaled {
  readonly divisor: number;
  readonly unit: string;
}

/** The unit in which an axis up to `time` milliseconds reads best. */
export function timeUnit(time: number): Scaled {
  const units: readonly Scaled[] = [
    { divisor: 86_400_000, unit: "days" },
    { divisor: 3_600_000, unit: "hours" },
    { divisor: 60_000, unit: "minutes" },
    { divisor: 1_000, unit: "seconds" },
  ];
  return units.find(({ divisor }) => time >= 3 * divisor) ?? { divisor: 1, unit: "milliseconds" };
}

/** The unit in which an axis up to `bytes` reads best. */
export function byteUnit(bytes: number): Scaled {
  const units = ["TB", "GB", "MB", "kB"].map((unit, i) => ({ divisor: 10 ** (12 - 3 * i), unit }));
  return units.find(({ divisor }) => bytes >= divisor) ?? { divisor: 1, unit: "bytes" };
}

export interface RoundTicks {
  readonly ticks?: number[];
  readonly tickFormat?: string;
}

/** `round 3`. A round 0 in which clients took part is a strategy's prelude. */
export const roundName = (round: number): string => (round === 0 ? "prelude" : `round ${round}`);

/** Ticks of a short round axis, which must not fall between rounds, nor look as if they could; a long axis chooses its own. */
export function roundTicks(rounds: readonly { readonly round: number }[]): RoundTicks {
  return rounds.length > 10 ? {} : { ticks: rounds.map(({ round }) => round), tickFormat: "d" };
}

/** Neighbouring items in at most `most` groups, as few as their common size allows; sizes differ by one at most. */
export function bins<T>(items: readonly T[], most: number): T[][] {
  const size = Math.max(1, Math.ceil(items.length / most));
  const groups = Math.ceil(items.length / size);
  const edge = (group: number) => Math.floor((group * items.length) / groups);
  return Array.from({ length: groups }, (_, group) => items.slice(edge(group), edge(group + 1)));
}

/** " Each bar is the mean of 8 to 9 rounds.": what a caption owes to its reader; nothing where a bar is one item. */
export function binned(groups: readonly (readonly unknown[])[], what: string): string {
  const sizes = groups.map(({ length }) => length);
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)];
  if (most === 1) return "";
  return ` ${what} is the mean of ${least === most ? most : `${least} to ${most}`} rounds.`;
}

/** A metric of a model as its task writes it. */
export function written({ form, of }: Metric, scores: Parameters<Metric["of"]>[0]): string {
  const value = of(scores);
  if (form === "share") return percent(value);
  return form === "decibel" ? `${value.toFixed(2)} dB` : nats(value);
}
