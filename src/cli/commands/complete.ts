/**
 * `flame complete`: the script that a shell loads, and the answers that the script asks for at every tab. Commands and
 * options are those declared; what a value may be is told by the name of its option or argument.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import tab, { type Complete } from "@bomb.sh/tab";
import type { Command } from "commander";
import { ScenarioError } from "../../base/errors.ts";
import { packageRoot } from "../../base/places.ts";
import { engineNames } from "../../engine/names.ts";
import { policies } from "../../fl/policies/registry.ts";
import { samplers } from "../../fl/samplers/registry.ts";
import { strategies } from "../../fl/strategies/registry.ts";
import { baseForms } from "../../model/base-weights.ts";
import { scenarioFiles, withoutEnding } from "../../study/load-scenario.ts";
import { fieldAt, fieldsOf } from "../screen/schema-fields.ts";

const shells = ["bash", "zsh", "fish", "powershell"];

/**
 * @param words the name of a shell; or after `--` a command line without `flame`, of which the last word is being typed and
 * may be empty
 * @throws ScenarioError at a shell that is none of these
 */
export function complete(program: Command, words: readonly string[]): void {
  // Commander keeps what was typed, and its types do not say so.
  const { rawArgs } = program as Command & { readonly rawArgs: readonly string[] };
  if (rawArgs[1] !== "--") {
    const [shell = ""] = words;
    if (words.length > 1 || !shells.includes(shell)) {
      throw new ScenarioError(`expected one of ${shells.join(", ")}, got ${words.join(" ")}`);
    }
    tab.setup(program.name(), program.name(), shell);
    return;
  }
  const typed = words.at(-1) ?? "";
  for (const command of program.commands) {
    const known = tab.command(command.name(), command.description());
    for (const argument of command.registeredArguments) {
      known.argument(argument.name(), offering(argument.name(), program, typed));
    }
    for (const { short, long, required, description } of command.options) {
      for (const flag of [short, long]) {
        const name = flag?.replace(/^--/, "");
        if (name === undefined) continue;
        if (required) known.option(name, description, offering(name, program, typed));
        else known.option(name, description);
      }
    }
  }
  tab.parse([...words]);
}

const offering = (name: string, program: Command, typed: string) => (give: Complete) => {
  for (const offer of (values[name] ?? nothing)(typed, program)) {
    const [value, about] = typeof offer === "string" ? [offer, ""] : offer;
    give(value, about);
  }
};

/** A word, or one with what is said of it. */
type Offer = string | readonly [value: string, about: string];
type Values = (typed: string, program: Command) => readonly Offer[];

const nothing: Values = () => [];

/** The entries of the folder that the path so far is in. */
const files: Values = (typed) => {
  const folder = typed.slice(0, typed.lastIndexOf("/") + 1);
  try {
    const entries = readdirSync(folder || ".", { withFileTypes: true });
    return entries.map((entry) => `${folder}${entry.name}${entry.isDirectory() ? "/" : ""}`);
  } catch {
    return [];
  }
};

const scenarios: Values = (typed, program) => [
  ...scenarioFiles(join(packageRoot(), "scenarios")).map(withoutEnding),
  ...files(typed, program),
];
const runs: Values = (typed, program) => files(typed === "" ? "runs/" : typed, program);
const engines: Values = () => engineNames;

/** Names with commas between them: the last one is being typed. */
const listOf =
  ({ entries }: Pick<typeof strategies | typeof policies | typeof samplers, "entries">): Values =>
  (typed) =>
    [...entries].map(([name, { schema }]) => [
      typed.slice(0, typed.lastIndexOf(",") + 1) + name,
      schema.description ?? "",
    ]);

/** Fields of the object that the path so far is in. */
const fields: Values = (typed) => {
  const path = typed.split(".").slice(0, -1);
  try {
    const found = fieldsOf(fieldAt(path)).flatMap(({ fields }) => fields);
    // The first form's word for a field that several have.
    const abouts = new Map(found.toReversed().map(({ name, about }) => [name, about]));
    return [...new Set(found.map(({ name }) => name))].map((name) => [[...path, name].join("."), abouts.get(name)!]);
  } catch {
    return [];
  }
};

/** By the name of an option or argument. */
const values: Readonly<Record<string, Values>> = {
  scenario: scenarios,
  run: runs,
  runA: runs,
  runB: runs,
  adapter: runs,
  name: () => [...strategies.entries.keys()],
  command: (_, program) => [...program.commands.map((command) => command.name()), "scenario"],
  field: fields,
  set: fields,
  vary: fields,
  words: () => shells,
  engine: engines,
  base: () => baseForms,
  strategies: listOf(strategies),
  strategy: listOf(strategies),
  policy: listOf(policies),
  sampler: listOf(samplers),
  dtype: () => ["float32", "bfloat16", "float16"],
  ...Object.fromEntries(
    ["data", "model", "calibration", "out", "to", "folder", "tokens", "logits", "creds", "cache"].map((name) => [
      name,
      files,
    ]),
  ),
};
