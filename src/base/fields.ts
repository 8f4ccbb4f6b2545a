/** Fields that many laws have, each with its range. A text of a schema says what was expected: "a probability in [0, 1]". */
import * as z from "zod";
import { longestTime, type Millis } from "./units.ts";

export const count = z.int().min(1);
export const positive = z.number().positive();
export const notNegative = z.number().min(0);

const inUnit = "a probability in [0, 1]";
export const probability = z.number().min(0, inUnit).max(1, inUnit);

const inside = "a number in (0, 1)";
/** Neither never nor always. */
export const openShare = z.number().gt(0, inside).lt(1, inside);

const time = (least: number) =>
  z.custom<Millis>(
    (value) => typeof value === "number" && Number.isInteger(value) && value >= least && value <= longestTime,
    `a whole number of milliseconds in [${least}, ${longestTime}]`,
  );

/** An instant or a length of virtual time that may be nothing. */
export const instant = time(0);
export const duration = time(1);
/** A difference between clocks, ahead or behind. */
export const shift = time(-longestTime);

/** A whole number that the compiler knows as more: an id, an instant however late. */
export const wholeAs = <Named extends number>(
  most = Number.MAX_SAFE_INTEGER,
  what = `a whole number in [0, ${most}]`,
) => z.custom<Named>((value) => isWhole(value) && value <= most, what);
export const whole = wholeAs<number>();

/** Zero, more, or Infinity for what never comes. */
export const unbounded = z.custom<number>((value) => typeof value === "number" && value >= 0, "a number from 0 on");

/** Any number there is, where NaN and Infinity have a meaning. */
export const anyNumber = z.custom<number>((value) => typeof value === "number", "a number");

const column = <Array>(type: new (...args: never[]) => Array) =>
  z.custom<Array>((value) => value instanceof type, `a ${type.name}`);
export const bytes = column<Uint8Array>(Uint8Array);
export const uints = column<Uint32Array>(Uint32Array);
export const floats = column<Float32Array>(Float32Array);
export const doubles = column<Float64Array>(Float64Array);

/** A function of the scenario's author. A scenario.json cannot carry it. */
export const ownFunction = <F extends (...args: never[]) => unknown>(what = "a function") =>
  z.custom<F>((value) => typeof value === "function", what);

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
