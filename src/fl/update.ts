/** What a client sends after local training, as the server sees it once it has opened the blob. */
import type { ParticipationId } from "../base/ids.ts";
import type { ParameterLayout } from "../tasks/layout.ts";
import type { Task } from "../tasks/task.ts";
import type { ClientView, Plan } from "./plan.ts";

/** What local training found. */
export interface Trained {
  /** Full layout; untouched coordinates bit-identical to `base`. */
  readonly values: Float32Array;
  readonly base: Float32Array;
  /** Optimizer steps taken, ≥ 1. */
  readonly steps: number;
  /** Mean training loss of the first local step, and of all, in nats per target: per response token. */
  readonly firstLoss: number;
  readonly meanLoss: number;
  /** 1 for a group that at least one step gave a gradient, `[groups]`. */
  readonly trained: Uint8Array;
  /** How often each group was used, `[groups]`, and what that is a share of: non-padding tokens, images. */
  readonly counts: Float64Array;
  readonly units: number;
  /** What stays with the client: FLAME's rescalers s_i. */
  readonly personal: Float32Array;
  /** Sums of probes, by name. */
  readonly found: Readonly<Record<string, Float64Array>>;
}

/** What the server sees of a counted participation. */
export interface Update extends Omit<Trained, "found">, Pick<ClientView, "client" | "budget" | "examples" | "round"> {
  readonly participation: ParticipationId;
  readonly plan: Plan;
  readonly sent: Readonly<Record<string, number | Float64Array>>;
  /** How much of the update the round policy lets through, in [0, 1]: less when it is stale. */
  readonly discount: number;
  /** Rounds between the model it started from and the present one. */
  readonly staleness: number;
  /** What the server multiplied the delta by to bound its norm, in (0, 1]; absent means 1. */
  readonly clip?: number;
}

/** Did at least one local step give this group a gradient? */
export const hasTrained = (update: Pick<Update, "trained">, group: number): boolean => update.trained[group] === 1;

/** What the client sent, once its delta is clipped. */
export function sentValues({ values, base, clip = 1 }: Pick<Update, "values" | "base" | "clip">): Float32Array {
  return clip === 1 ? values : values.map((value, i) => base[i]! + clip * (value - base[i]!));
}

/** The same update with the factor that brings its delta's norm down to at most `norm`. */
export function clipUpdate(update: Update, norm: number): Update {
  const length = deltaNorm(update);
  return length <= norm ? update : { ...update, clip: (update.clip ?? 1) * (norm / length) };
}

/** @internal ‖Δ‖₂ of what is left of the delta after clips so far. */
export function deltaNorm({ values, base, clip = 1 }: Update): number {
  let square = 0;
  for (let i = 0; i < values.length; i++) {
    const delta = values[i]! - base[i]!;
    square += delta * delta;
  }
  return clip * Math.sqrt(square);
}

/** Why an update is not counted. */
export interface Refusal {
  /** `model-diverged`: what it was sent was not finite before it did anything. */
  readonly kind: "misfit" | "not-finite" | "model-diverged";
  readonly text: string;
}

/** What an update has to fit. */
export interface CheckedTask {
  /** Of all members. */
  readonly layout: ParameterLayout;
  readonly members: number;
  readonly task: Pick<Task, "personal" | "countProblem">;
}

/** What clients were sent, which all of a round have in common and nobody writes to. */
const finite = new WeakSet<Float32Array>();

/**
 * Whether the server may count the update. It must fit the layout, hold only finite numbers, and its counts must be
 * possible.
 *
 * @returns why it must be refused, or null
 */
export function checkUpdate(update: Update, task: CheckedTask): Refusal | null {
  const base = finite.has(update.base) ? null : firstNonFinite("base adapter", update.base);
  if (base !== null) return { kind: "model-diverged", text: base };
  finite.add(update.base);
  if (!Number.isFinite(update.firstLoss)) {
    return { kind: "model-diverged", text: `firstLoss is ${update.firstLoss}, before the first step` };
  }
  const misfit = misfitOf(update, task);
  if (misfit !== null) return { kind: "misfit", text: misfit };
  const text =
    firstNonFinite("adapter", update.values) ?? firstNonFinite("rescaler", update.personal) ?? nonFiniteIn(update.sent);
  return text === null ? null : { kind: "not-finite", text };
}

function misfitOf(update: Update, checked: CheckedTask): string | null {
  const { values, base, personal, counts, units, examples } = update;
  const { layout, task } = checked;
  const { size, groups } = layout;
  if (values.length !== size) return `adapter has ${values.length} values, expected ${size}`;
  if (base.length !== size) return `base adapter has ${base.length} values, expected ${size}`;
  if (personal.length !== task.personal) return `rescaler has ${personal.length} factors, expected ${task.personal}`;
  if (counts.length !== groups.length) return `activations have ${counts.length} counts, expected ${groups.length}`;
  if (!isCount(units)) return `tokens is ${units}, expected a non-negative integer`;
  if (!isCount(examples) || examples < 1) return `examples is ${examples}, expected a positive integer`;
  if (!(update.discount >= 0 && update.discount <= 1)) {
    return `discount is ${update.discount}, expected a number in [0, 1]`;
  }
  for (const name of ["firstLoss", "meanLoss"] as const) {
    if (!isNonNegative(update[name])) return `${name} is ${update[name]}, expected a non-negative number`;
  }
  return countProblem(update, checked);
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
const isNonNegative = (value: number): boolean => value >= 0 && value < Infinity;

function countProblem({ counts, units, plan }: Update, { layout, members, task }: CheckedTask): string | null {
  const groups = layout.groups.length / members;
  for (let member = 0; member < members; member++) {
    const own = counts.subarray(member * groups, (member + 1) * groups);
    const isTrained = plan.members?.includes(member) ?? true;
    const problem = isTrained
      ? (task.countProblem?.(own, units, plan.kind.variant) ?? null)
      : own.some((count) => count !== 0)
        ? "used"
        : null;
    if (problem === null) continue;
    return members === 1 ? problem : `member ${member}${isTrained ? "" : ", which it did not train"}: ${problem}`;
  }
  return null;
}

function nonFiniteIn(sent: Update["sent"]): string | null {
  for (const [name, value] of Object.entries(sent)) {
    const found = firstNonFinite(name, typeof value === "number" ? [value] : value);
    if (found !== null) return found;
  }
  return null;
}

function firstNonFinite(what: string, values: readonly number[] | Float32Array | Float64Array): string | null {
  if (values instanceof Float32Array && allFinite(values)) return null;
  const at = values.findIndex((value) => !Number.isFinite(value));
  return at < 0 ? null : `${what} value ${at} is ${values[at]}, expected a finite number`;
}

/** Of one type of array alone: a loop that has seen several takes five times as long. Four at a time takes two thirds. */
function allFinite({ buffer, byteOffset, length }: Float32Array): boolean {
  // An exponent of ones, and no other, carries into the sign.
  const bits = new Int32Array(buffer, byteOffset, length);
  const carry = (i: number): number => (bits[i]! & 0x7fffffff) + 0x00800000;
  let i = length % 4;
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let first = 0; first < i; first++) a |= carry(first);
  for (; i < length; i += 4) {
    a |= carry(i);
    b |= carry(i + 1);
    c |= carry(i + 2);
    d |= carry(i + 3);
  }
  return (a | b | c | d) >= 0;
}
