/** What a schema says of the fields of an object, for help and for documentation. */
import * as z from "zod";
import { ScenarioError } from "../../base/errors.ts";
import { nearest } from "../../base/spelling.ts";
import { policySpecSchema } from "../../fl/policies/registry.ts";
import { scenarioSchema } from "../../scenario/schema.ts";

/** As much of a JSON Schema as is shown. */
export interface Shape {
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Shape[];
  readonly oneOf?: readonly Shape[];
  readonly allOf?: readonly Shape[];
  readonly items?: Shape;
  readonly prefixItems?: readonly Shape[];
  readonly properties?: Readonly<Record<string, Shape>>;
  readonly additionalProperties?: Shape | boolean;
  readonly required?: readonly string[];
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly exclusiveMaximum?: number;
  readonly default?: unknown;
  readonly format?: string;
  readonly description?: string;
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, Shape>>;
}

export interface Field {
  readonly name: string;
  readonly values: string;
  readonly usual?: string;
  readonly isNeeded: boolean;
  readonly about: string;
}

/** What the fields of an object may be; one of several where a type says which. */
interface Form {
  readonly title: string;
  readonly about: string;
  readonly fields: readonly Field[];
}

/** @internal */
export const shapeOf = (schema: z.ZodType): Shape =>
  z.toJSONSchema(schema, {
    io: "input",
    unrepresentable: "any",
    reused: "inline",
    override({ zodSchema: { _zod }, jsonSchema }) {
      // What a check of our own says it expected is all that is known of it.
      const { def } = _zod;
      const said = def.type === "custom" ? def.error?.({ code: "custom", input: undefined, path: [] }) : undefined;
      if (typeof said === "string") jsonSchema.format = said;
    },
  }) as Shape;

/** With the policies there are, of which the scenario's own schema says only that they are objects. */
function scenarioShape(): Shape {
  const shape = shapeOf(scenarioSchema);
  const { rounds } = shape.properties!;
  const { policy } = rounds!.properties!;
  const described = {
    ...rounds!.properties,
    policy: { ...shapeOf(policySpecSchema), description: policy!.description! },
  };
  return { ...shape, properties: { ...shape.properties, rounds: { ...rounds, properties: described } } };
}

/** A field of a scenario. @throws ScenarioError that names the fields there are */
export function fieldAt(path: readonly string[]): Shape {
  let shape = scenarioShape();
  for (const [depth, key] of path.entries()) {
    const choices = formsOf(shape).flatMap(({ properties = {} }) => Object.entries(properties));
    const found = choices.filter(([name]) => name === key.replace(/\[\d*\]$/, "")).map(([, inner]) => inner);
    if (found.length === 0) {
      const names = [...new Set(choices.map(([name]) => name))];
      const near = nearest(key, names);
      const hint = near === undefined ? "" : `; did you mean ${near}?`;
      const where = ["scenario", ...path.slice(0, depth)].join(".");
      throw new ScenarioError(`${where} has no field ${key}${hint}\n  expected one of ${names.join(", ") || "none"}`);
    }
    const distinct = [...new Map(found.map((inner) => [JSON.stringify(inner), inner])).values()];
    shape = distinct.length === 1 ? distinct[0]! : { anyOf: distinct, description: saidOf(distinct) };
  }
  return shape;
}

/** What forms say of one field of theirs, each sentence once. */
const saidOf = (forms: readonly Shape[]): string =>
  [...new Set(forms.map(({ description = "" }) => description))].join("; or ");

/** The objects that a shape may be, those in its lists as well. */
function formsOf(shape: Shape): Shape[] {
  const inner = shape.anyOf ?? shape.oneOf;
  if (inner !== undefined) return inner.flatMap(formsOf);
  if (shape.allOf !== undefined) return shape.allOf.flatMap(formsOf);
  if (shape.items !== undefined) return formsOf(shape.items);
  return shape.properties === undefined ? [] : [shape];
}

/** Fields of each form that a shape may have; a value without fields is one without a name. */
export function fieldsOf(shape: Shape): readonly Form[] {
  const forms = formsOf(shape);
  if (forms.length === 0) return [{ title: "", about: "", fields: [fieldOf("", shape, false)] }];
  return forms.map(({ properties = {}, required = [], description = "" }) => {
    const type = forms.length > 1 ? properties.type?.const : undefined;
    const fields = Object.entries(properties).filter(([name]) => name !== "type" || type === undefined);
    return {
      title: type === undefined ? "" : `type: "${type}"`,
      about: type === undefined ? "" : description,
      fields: fields.map(([name, inner]) => fieldOf(name, inner, required.includes(name))),
    };
  });
}

function fieldOf(name: string, shape: Shape, isNeeded: boolean): Field {
  const { default: usual, description = "" } = shape;
  const text = usual === undefined ? undefined : JSON.stringify(usual);
  const isPlain = text !== undefined && text.length <= 60;
  return { name, values: valuesOf(shape), isNeeded, about: description, ...(isPlain && { usual: text }) };
}

/** @internal In words: `whole number ≥ 1`, `one of a, b`. */
export function valuesOf(shape: Shape): string {
  const { const: only, enum: some, items, properties, type } = shape;
  const choices = shape.anyOf ?? shape.oneOf;
  if (only !== undefined) return JSON.stringify(only);
  if (some !== undefined) return `one of ${some.map((value) => JSON.stringify(value)).join(", ")}`;
  if (choices !== undefined) {
    const types = choices.flatMap(({ properties }) => properties?.type?.const ?? []).map(String);
    const others = choices.filter(({ properties }) => properties?.type?.const === undefined).map(valuesOf);
    const typed = types.length === 0 ? [] : [`{ type: ${types.join(" | ")}, … }`];
    return [...new Set([...others, ...typed])].join(" or ");
  }
  if (shape.allOf !== undefined) return [...new Set(shape.allOf.map(valuesOf))].join(" and ");
  if (shape.prefixItems !== undefined) return `[${shape.prefixItems.map(valuesOf).join(", ")}]`;
  if (type === "array") return `list of ${items === undefined ? "values" : valuesOf(items)}`;
  if (properties !== undefined) {
    const names = Object.keys(properties);
    return `{ ${(names.length > 6 ? [...names.slice(0, 6), "…"] : names).join(", ")} }`;
  }
  if (type === "object") return "object";
  if (type === undefined) return shape.format ?? "any value, or a function";
  const names = [type].flat().map((name) => (name === "integer" ? "whole number" : name));
  return [names.join(" or "), ...boundsOf(shape)].join(" ");
}

/** Bounds beyond it are there for arithmetic, and nobody meets them. */
const largestTold = 1e12;

function boundsOf({ minimum, exclusiveMinimum, maximum, exclusiveMaximum }: Shape): string[] {
  const isBound = (value: number | undefined): value is number => value !== undefined && Math.abs(value) < largestTold;
  const bounds: readonly (readonly [string, number | undefined])[] = [
    ["≥", minimum],
    [">", exclusiveMinimum],
    ["≤", maximum],
    ["<", exclusiveMaximum],
  ];
  const said = bounds.flatMap(([sign, value]) => (isBound(value) ? [`${sign} ${value}`] : []));
  return said.length === 0 ? [] : [said.join(", ")];
}
