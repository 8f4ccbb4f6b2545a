/** A strategy, a policy or a sampler is one file and one line: nothing else in the program knows it by name. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { policies } from "../../../src/fl/policies/registry.ts";
import { samplers } from "../../../src/fl/samplers/registry.ts";
import { strategies } from "../../../src/fl/strategies/registry.ts";
import * as everything from "../../../src/index.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "../../..");
const registries = { policies, samplers, strategies };

/** What a name means elsewhere: the command; a law of chance, a weighting of clients, an effort. */
const homonyms: Readonly<Record<string, RegExp>> = {
  // The command, and what its help shows of another.
  flame: /new Command\("flame"\)|^ {2}methods: \[/,
  uniform: /"uniform"/,
  // How several models answer, a field of what is evaluated.
  mix: /"models" \| "mix"/,
};

const withoutComments = (text: string): string =>
  text.replace(/^[ \t]*\/\*[\s\S]*?\*\//gm, "").replace(/(^|\s)\/\/.*$/gm, "$1");

const sources = ["src", "actors"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return { path: relative(root, path), code: withoutComments(readFileSync(path, "utf8")) };
    }),
);

/** Names that a list exports, by the file of each. */
function readList(path: string): { readonly name: string; readonly file: string }[] {
  const { code } = sources.find((source) => source.path === path)!;
  return [...code.matchAll(/export \{ ([^}]+) \} from "\.\/([^"]+)"/g)].flatMap(([, names, file]) =>
    names!.split(", ").map((name) => ({ name, file: join(dirname(path), file!) })),
  );
}

for (const [kind, { entries }] of Object.entries(registries)) {
  const list = `src/fl/${kind}/all.ts`;
  const listed = readList(list);

  test(`the ${kind} are known by name to their own files alone`, () => {
    const mistakes = [...entries.keys()].flatMap((type) =>
      sources
        .filter(({ path, code }) => !(listed.some(({ file }) => file === path) && code.includes(`type: "${type}"`)))
        .filter(({ code }) =>
          code.split("\n").some((line) => line.includes(`"${type}"`) && !homonyms[type]?.test(line)),
        )
        .map(({ path }) => `${path} knows "${type}"`),
    );
    assert.deepEqual(mistakes, []);
  });

  test(`the ${kind} are imported from their own files by the list alone, and from the list by nobody by name`, () => {
    const mistakes = sources.flatMap(({ path, code }) =>
      [...code.matchAll(/^(?:import|export)\s([^"';]*?)\sfrom "(\.[^"]+)"/gm)].flatMap(([, what, target]) => {
        const from = join(dirname(path), target!);
        if (listed.some(({ file }) => file === from)) return path === list ? [] : [`${path} imports ${basename(from)}`];
        if (dirname(from) !== dirname(list)) return [];
        return listed
          .filter(({ name }) => new RegExp(`\\b${name}\\b`).test(what!))
          .map(({ name }) => `${path} imports ${name}`);
      }),
    );
    assert.deepEqual(mistakes, []);
  });

  test(`the package exports the ${kind}, each under a name of its own`, () => {
    for (const { name } of listed) assert.ok(name in everything, name);
    assert.equal(entries.size, listed.length);
  });
}

test("bad options are a scenario's mistake in whatever is registered", () => {
  for (const { entries, fromSpec, schema } of Object.values(registries)) {
    for (const type of entries.keys()) {
      const spec = { type, nonsense: 1 };
      assert.equal(schema.safeParse(spec).success, false);
      assert.throws(
        () => (fromSpec as (spec: { type: string }) => unknown)(spec),
        /nonsense is not a field that exists here/,
      );
    }
  }
});
