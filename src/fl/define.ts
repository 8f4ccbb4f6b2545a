/**
 * What a strategy, a round policy and a sampler have in common: one definition gives the schema of its options, the
 * function that scenarios call and the entry of its registry.
 */
import * as z from "zod";
import { invariant } from "../base/errors.ts";
import { parseSpec } from "../base/problem.ts";

/** Plain data that names a part of a scenario and its options. */
export type Spec = { readonly type: string } & Readonly<Record<string, unknown>>;

export interface Named {
  /** `flame(t=2)`: for tables and plots. */
  readonly name: string;
  /** Makes it again; see the registries. */
  readonly spec: Spec;
}

type Options<Shape extends z.ZodRawShape> = z.output<z.ZodObject<Shape, z.core.$strict>>;
type Given<Shape extends z.ZodRawShape> = z.input<z.ZodObject<Shape, z.core.$strict>>;

export interface Definition<Type extends string, Shape extends z.ZodRawShape, Behaviour> {
  readonly type: Type;
  /** Fields of the spec besides its type, with their defaults. */
  readonly options: Shape;
  /** The type unless given. */
  readonly name?: (options: Options<Shape>) => string;
  readonly make: (options: Options<Shape>) => Behaviour;
}

/** What a part does, in half a sentence. */
export interface Described {
  readonly is: string;
}

/** What scenarios call, with options or, where each has a default, without. */
export interface Factory<Type extends string, Shape extends z.ZodRawShape, Part> {
  // biome-ignore lint/complexity/noBannedTypes: the question is whether every field may be left out.
  (...given: {} extends Given<Shape> ? [options?: Given<Shape>] : [options: Given<Shape>]): Part;
  readonly type: Type;
  readonly schema: z.ZodObject<{ type: z.ZodLiteral<Type> } & Shape, z.core.$strict>;
  /** @throws ScenarioError that lists every mistake */
  fromSpec(spec: Spec): Part;
}

/** What every part of a kind may have besides its own options, and what that makes of it. */
interface Common<Shape extends z.ZodRawShape, Behaviour> {
  readonly fields: Shape;
  apply(part: Named & Behaviour): Named & Behaviour;
}

/** @param what the part is, as mistakes name it: `strategy` */
export function define<
  Type extends string,
  Shape extends z.ZodRawShape,
  Behaviour extends object,
  Others extends z.ZodRawShape,
>(
  what: string,
  { type, is, options, name, make }: Definition<Type, Shape, Behaviour> & Described,
  { fields, apply }: Common<Others, Behaviour>,
): Factory<Type, Shape & Others, Named & Behaviour> {
  const schema = z.strictObject({ type: z.literal(type), ...options, ...fields }).describe(is);
  const fromSpec = (given: Spec): Named & Behaviour => {
    // That a schema made of `options` gives these very options, the compiler cannot see.
    const spec = parseSpec(what, schema, given) as Spec & Options<Shape>;
    return apply({ name: name?.(spec) ?? type, spec, ...make(spec) });
  };
  const factory = (given: object = {}) => {
    const spec = { type, ...given };
    return schema.safeParse(spec).success ? fromSpec(spec) : mistaken(spec, () => fromSpec(spec));
  };
  return Object.assign(factory, { type, schema, fromSpec });
}

/**
 * A part whose options are wrong. A scenario says so together with its other mistakes; whoever takes it for a part before
 * is told by `complain`, which throws.
 */
function mistaken<Part extends Named>(spec: Spec, complain: () => Part): Part {
  const known: Named = { name: spec.type, spec };
  return new Proxy(known as Part, {
    get: (part, key) => (Object.hasOwn(known, key) ? Reflect.get(part, key) : complain()),
    ownKeys: () => Reflect.ownKeys(complain()),
  });
}

/** For kinds whose parts have nothing in common. */
export const nothing = { fields: {}, apply: <Part>(part: Part): Part => part };

interface Entry {
  readonly type: string;
  readonly schema: z.ZodObject;
  fromSpec(spec: Spec): unknown;
}

/** Everything of one kind by the type that a spec names. */
export interface Registry<Item extends Entry> {
  readonly entries: ReadonlyMap<string, Item>;
  readonly schema: z.ZodDiscriminatedUnion<[Item["schema"], ...Item["schema"][]], "type">;
  /** The part a spec names; `fromSpec(part.spec)` is `part` again. @throws ScenarioError that lists every mistake */
  fromSpec(spec: Spec): ReturnType<Item["fromSpec"]>;
}

/** @param all what a module of definitions exports */
export function registryOf<Item extends Entry>(what: string, all: Readonly<Record<string, Item>>): Registry<Item> {
  const entries = new Map(Object.values(all).map((entry) => [entry.type, entry]));
  const [first, ...rest] = [...entries.values()].map((entry): Item["schema"] => entry.schema);
  invariant(first !== undefined, `there is no ${what}`);
  const schema = z.discriminatedUnion("type", [first, ...rest]);
  return {
    entries,
    schema,
    fromSpec(spec) {
      parseSpec(what, schema, spec);
      return entries.get(spec.type)!.fromSpec(spec) as ReturnType<Item["fromSpec"]>;
    },
  };
}
