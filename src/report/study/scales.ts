/** How the plots of a study write their axes. */
import { byteUnit, timeUnit } from "../numbers.ts";
import type { Measure } from "./measures.ts";

interface Units {
  readonly divisor: number;
  readonly label: string;
  readonly zero: boolean;
  /** Wide enough that a difference of a thousandth does not look like a cliff. */
  readonly domain: readonly [number, number] | null;
}

const least = 0.1;

/** @param values all that the axis shows */
export function inUnits({ unit, name }: Measure, values: readonly number[]): Units {
  const most = Math.max(0, ...values);
  if (unit === "Jain's index") {
    const bottom = Math.min(1, ...values);
    const top = Math.max(0, Math.min(1, (bottom + most + least) / 2));
    const isNarrow = most - bottom < least;
    return { divisor: 1, label: unit, zero: false, domain: isNarrow ? [top - least, top] : null };
  }
  if (unit === "time" || unit === "bytes") {
    const { divisor, unit: found } = unit === "time" ? timeUnit(most) : byteUnit(most);
    return { divisor, label: `${unit === "time" ? "virtual time" : name} (${found})`, zero: true, domain: null };
  }
  return {
    divisor: unit === "%" ? 0.01 : 1,
    label: unit === "" ? name : `${short(name)} (${unit})`,
    zero: unit === "%",
    domain: null,
  };
}

/** The title has the rest. */
const short = (name: string): string => name.replace(/, mean over budgets| at \w+ = \d+/, "");

/** Numbers that lie orders of magnitude apart stand on a logarithmic scale; few have a tick each. */
export function onScale(values: readonly number[]) {
  const different = [...new Set(values)].sort((a, b) => a - b);
  return {
    ...(isWide(different) ? { type: "log" as const } : { nice: false }),
    ...(different.length <= 8
      ? { ticks: different, tickFormat: (value: number) => String(Number(value.toPrecision(6))) }
      : {}),
  };
}

/** Do they lie orders of magnitude apart? */
export const isWide = (values: readonly number[]): boolean =>
  Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) >= 20;

/** A channel of CSS colours. */
export const fixed = (value: string) => ({ value, scale: null });

const longest = 18;

export const shorten = (name: string): string => (name.length > longest ? `${name.slice(0, longest - 1)}…` : name);

/** For labels at the ends of lines. */
export const roomFor = (names: readonly string[]): number =>
  14 + (names.length > 1 ? 7.8 * Math.min(longest, Math.max(...names.map(({ length }) => length))) : 0);

/** For a caption. */
export const bestOf = ({ better }: Measure): string =>
  better === null ? "" : `${better === "low" ? "Lower" : "Higher"} is better.`;

/** Above the axis; beside it where panels have their names above. */
export const yLabel = (label: string, isOne: boolean) =>
  isOne
    ? { label: `↑ ${label}`, labelArrow: null }
    : { label: `${label} →`, labelArrow: null, labelAnchor: "center" as const };

/** A little more than the values: intervals of few and different ones would leave no room for them. */
export function roomy(values: readonly number[], { zero, most }: { zero: boolean; most: number }): [number, number] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = 0.15 * (high - low);
  const least = low < 0 ? low - room : zero ? 0 : Math.max(0, low - room);
  return [least, Math.min(most, high + room)];
}
