/** Numbers of methods' rules, worked out in float64 by other means: test/golden/data/methods. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after } from "node:test";

// biome-ignore lint/suspicious/noExplicitAny: the files describe themselves
export type Json = any;

const folder = join(import.meta.dirname, "../golden/data/methods");

/** @internal */
export const methods: readonly string[] = readdirSync(folder).map((name) => name.replace(/\.json$/, ""));

/** The cases of these methods, all of which the file that asks for them has to read. */
export function goldensOf(...names: readonly string[]) {
  const files = new Map<string, Json>();
  const unread = new Set<string>();
  for (const name of names) {
    const golden = JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8"));
    files.set(name, golden);
    for (const { name: title } of golden.cases) unread.add(`${name}: ${title}`);
  }
  after(() => assert.deepEqual([...unread], [] as string[], "cases that no test has read"));
  return (method: string, title: string): { inputs: Json; expected: Json } => {
    unread.delete(`${method}: ${title}`);
    const found = files.get(method).cases.find(({ name }: Json) => name === title);
    assert.ok(found, `${method} has no case "${title}"`);
    return found;
  };
}

/** Relative to the largest value, or to 1. */
export function close(got: ArrayLike<number>, expected: readonly number[] | number, tolerance = 1e-6): void {
  const wanted = typeof expected === "number" ? [expected] : expected;
  assert.equal(got.length, wanted.length);
  const largest = Math.max(1, ...wanted.map(Math.abs));
  for (const [i, value] of wanted.entries()) {
    assert.ok(Math.abs(got[i]! - value) <= tolerance * largest, `value ${i} is ${got[i]}, expected ${value}`);
  }
}
