/**
 * Which parameters a client has, and how strongly they enter: a rank, a set of experts.
 *
 * In a program a scope is one vector, the *lens*: θ' = θ ⊙ lens. A coordinate behind a zero has no gradient and is not
 * decayed, so it stays as it is, bit for bit, and one compiled program serves all ranks.
 */
import * as z from "zod";
import { whole } from "../base/fields.ts";
import type { ParameterLayout } from "./layout.ts";

const scale = z.number().exactOptional();
export const scopeSchema = z.strictObject({
  /** Groups whose parameters a client has; all unless given. */
  groups: z.array(whole).readonly().exactOptional(),
  /** Of every low-rank pair the first components, or these; each counts `scale` times, once unless given. */
  components: z
    .union([z.strictObject({ first: whole, scale }), z.strictObject({ of: z.array(whole).readonly(), scale })])
    .exactOptional(),
});
export type Scope = Readonly<z.output<typeof scopeSchema>>;

/** Whether a component belongs to the scope. */
function componentsOf({ components }: Scope): (component: number) => boolean {
  if (components === undefined) return () => true;
  if ("first" in components) return (component) => component < components.first;
  const chosen = new Set(components.of);
  return (component) => chosen.has(component);
}

const groupsOf = ({ groups }: Scope): ((group: number) => boolean) => {
  if (groups === undefined) return () => true;
  const chosen = new Set(groups);
  return (group) => chosen.has(group);
};

/**
 * What each parameter is multiplied by, `[size]`: 0 outside the scope. A scale stands on A alone, so it enters B·A once.
 */
export function lensOf({ size, groups, pairs }: ParameterLayout, scope: Scope): Float32Array {
  const lens = new Float32Array(size);
  const hasGroup = groupsOf(scope);
  for (const [group, { ranges }] of groups.entries()) {
    if (hasGroup(group)) for (const { start, end } of ranges) lens.fill(1, start, end);
  }
  if (scope.components === undefined) return lens;
  const has = componentsOf(scope);
  const { scale = 1 } = scope.components;
  for (const { group, rank, inputs, outputs, a, b } of pairs) {
    if (!hasGroup(group)) continue;
    for (let component = 0; component < rank; component++) {
      const inside = has(component);
      lens.fill(inside ? scale : 0, a + component * inputs, a + (component + 1) * inputs);
      if (!inside) for (let row = 0; row < outputs; row++) lens[b + row * rank + component] = 0;
    }
  }
  return lens;
}

/** How many parameters a scope has: what travels. */
export function scalarsOf({ size, groups, pairs }: ParameterLayout, scope: Scope | undefined): number {
  if (scope === undefined) return size;
  const hasGroup = groupsOf(scope);
  const has = componentsOf(scope);
  let scalars = 0;
  for (const [group, { ranges }] of groups.entries()) {
    if (hasGroup(group)) for (const { start, end } of ranges) scalars += end - start;
  }
  for (const { group, rank, inputs, outputs } of pairs) {
    if (!hasGroup(group)) continue;
    for (let component = 0; component < rank; component++) if (!has(component)) scalars -= inputs + outputs;
  }
  return scalars;
}

/** The largest rank of a pair in the scope; null where a scope does not say. */
export function rankOf({ components }: Scope): number | null {
  if (components === undefined) return null;
  return "first" in components ? components.first : components.of.length;
}

/** The parameters as a program with this scope sees them. */
export function seenThrough(parameters: Float32Array, lens: Float32Array): Float32Array {
  return parameters.map((value, i) => value * lens[i]!);
}
