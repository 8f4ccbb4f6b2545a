/** What the values of options are: each function reads one, and says what was expected. */
import { InvalidArgumentError } from "commander";
import type { MergeLimit } from "../engine/merge-limit.ts";
import type { BaseForm } from "../model/base-weights.ts";
import type { StoredDtype } from "../model/formats/safetensors-writer.ts";
import type { Target } from "../study/cell.ts";
import type { Sample } from "../study/matrix/planned.ts";

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError("expected a whole number.");
  return value;
}

export function positiveNumber(text: string): number {
  const value = wholeNumber(text);
  if (value === 0) throw new InvalidArgumentError("expected a whole number of at least 1.");
  return value;
}

export function nonNegative(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value < Number.POSITIVE_INFINITY)) {
    throw new InvalidArgumentError("expected a number of at least 0.");
  }
  return value;
}

export function share(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 1)) throw new InvalidArgumentError("expected a number above 0, at most 1.");
  return value;
}

/** An option that may be repeated. */
export const collect = (value: string, previous: readonly string[]): readonly string[] => [...previous, value];

/** How many clients share a call. */
export const mergeOption = (text: string): "auto" | MergeLimit =>
  text === "auto" ? "auto" : { clients: positiveNumber(text) };

/** A duration in real minutes; fractions count. */
export function minutesOption(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value > 0 && value < Infinity)) {
    throw new InvalidArgumentError("expected a positive number of minutes.");
  }
  return value;
}

/** `8,4,2,1`. */
export function budgetList(text: string): readonly number[] {
  const budgets = text.split(",").map((part) => positiveNumber(part.trim()));
  return [...new Set(budgets)];
}

/** `flame,fedavg`. */
export function nameList(text: string): string[] {
  const found = text.split(",").map((name) => name.trim());
  if (found.some((name) => name === "")) throw new InvalidArgumentError("expected names, separated by commas.");
  return [...new Set(found)];
}

/** `0,0.1,0.3`. */
export function dropoutRates(text: string): number[] {
  const found = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (!found.every((rate) => rate >= 0 && rate <= 1)) throw new InvalidArgumentError("expected rates in [0, 1].");
  return [...new Set(found)];
}

/** `5` is 1…5; `3,7` and `3,` are lists; 0 is no number of seeds, and `0,` one. */
export function seedList(text: string): number[] {
  if (/^[1-9]\d{0,4}$/.test(text)) return Array.from({ length: Number(text) }, (_, at) => at + 1);
  const parts = /^0+$/.test(text) ? [] : text.replace(/,$/, "").split(",");
  if (parts.length === 0 || !parts.every((part) => /^\d{1,15}$/.test(part.trim()))) {
    throw new InvalidArgumentError("expected a number of seeds, or seeds separated by commas.");
  }
  return [...new Set(parts.map(Number))];
}

/** `data.partition.alpha=0.1,1`: values as JSON or as text, a field each time. */
export function varied(text: string, previous: Readonly<Record<string, readonly unknown[]>>) {
  const [, field, list] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
  if (field === undefined || list === undefined) {
    throw new InvalidArgumentError("expected field=values, as in data.partition.alpha=0.1,1.");
  }
  if (field in previous) throw new InvalidArgumentError(`${field} is varied twice.`);
  return { ...previous, [field]: valuesIn(list) };
}

/** Objects and lists have commas of their own; a word is no JSON. */
function valuesIn(list: string): unknown[] {
  try {
    return JSON.parse(`[${list}]`) as unknown[];
  } catch {
    return list.split(",").map((part) => {
      try {
        return JSON.parse(part) as unknown;
      } catch {
        return part;
      }
    });
  }
}

/** `20`, `latin:20`. */
export function sampleOf(text: string): Sample {
  const [, latin, count] = /^(latin:)?([1-9]\d*)$/.exec(text) ?? [];
  if (count === undefined) throw new InvalidArgumentError("expected a number of combinations, as in 20 or latin:20.");
  return { count: Number(count), by: latin === undefined ? "random" : "latin" };
}

/** `8:1.5`, `mean:1.5`. */
export function targetLoss(text: string): Target {
  const [, budget, loss] = /^(\d+|mean):(\d+(?:\.\d+)?)$/.exec(text) ?? [];
  if (budget === undefined || loss === undefined) {
    throw new InvalidArgumentError("expected budget:loss, as in 8:1.5 or mean:1.5.");
  }
  return { budget: budget === "mean" ? null : Number(budget), loss: Number(loss) };
}

const baseForms: readonly BaseForm[] = ["f32", "half", "int8", "int4"];

function baseForm(name: string): BaseForm {
  const found = baseForms.find((form) => form === name);
  if (found === undefined) throw new InvalidArgumentError(`expected ${baseForms.join(", ")}.`);
  return found;
}

/** The form of base weights, wherever a model is named. */
export const baseOption = [
  "--base <form>",
  "how the base weights are kept: f32, half, int8 or int4 (default: f32)",
  baseForm,
] as const;

const dtypes: Readonly<Record<string, StoredDtype>> = { float32: "F32", bfloat16: "BF16", float16: "F16" };

export function dtype(name: string): StoredDtype {
  const found = Object.hasOwn(dtypes, name) ? dtypes[name] : undefined;
  if (found === undefined) throw new InvalidArgumentError(`expected ${Object.keys(dtypes).join(", ")}.`);
  return found;
}

export function adapterBytes(text: string): 2 | 4 {
  if (text === "2") return 2;
  if (text === "4") return 4;
  throw new InvalidArgumentError("expected 4 (float32) or 2 (bfloat16 or float16).");
}
