/** `flame methods`: the strategies and wrappers there are, one of them explained, or what a scenario file brings. */
import { extname } from "node:path";
import * as z from "zod";
import { ScenarioError } from "../../base/errors.ts";
import { nearest } from "../../base/spelling.ts";
import { strategyOf } from "../../scenario/define.ts";
import { ownCodeDigest } from "../../scenario/own-code.ts";
import { loadScenario } from "../../study/load-scenario.ts";
import { allMethods, type MethodFacts, plainText } from "../screen/method-facts.ts";
import { explain, listOf } from "../screen/methods.ts";
import { terminal } from "../screen/terminal.ts";

interface MethodsFlags {
  readonly json?: boolean;
}

export async function methods(name: string | undefined, { json }: MethodsFlags): Promise<void> {
  const all = allMethods();
  const found = all.find((method) => method.name === name);
  if (name === undefined) print(json, all.map(plain), () => listOf(all));
  else if (found !== undefined) print(json, plain(found), () => explain(found));
  else if ([".ts", ".js", ".mts", ".mjs", ".json"].includes(extname(name))) await ofScenario(name, all, json);
  else throw new ScenarioError(unknownText(name, all));
}

/** A strategy of the author's own has no description: its file is what there is to read, and its digest names it. */
async function ofScenario(name: string, all: readonly MethodFacts[], json: boolean | undefined): Promise<void> {
  const { scenarios, path, file } = await loadScenario(name);
  const digest = file === null ? null : ownCodeDigest(file);
  const rows = scenarios.map((scenario) => {
    const { own, data } = scenario;
    const strategy = strategyOf(scenario);
    const hooks = (["init", "plan", "steps", "reply"] as const).filter((hook) => strategy[hook] !== undefined);
    return { scenario: data.name, strategy: strategy.name, own: own.strategy !== undefined, hooks, digest };
  });
  print(json, rows, () =>
    rows
      .map(({ scenario, strategy, own, hooks }) =>
        own
          ? `${scenario}: ${strategy}, its own, in ${path} (sha256 ${digest})\n  ${["weight", ...hooks, "begin", "fold", "finish"].join(", ")}\n`
          : `${scenario}: ${strategy}\n`,
      )
      .join(""),
  );
  if (json !== true) terminal.out.write(`\nbeside it:\n\n${listOf(all)}`);
}

const print = (json: boolean | undefined, data: unknown, text: () => string): void =>
  void terminal.out.write(json === true ? `${JSON.stringify(data)}\n` : text());

const plain = ({ name, wraps, about, tasks, schema }: MethodFacts) => ({
  name,
  wraps,
  tasks,
  ...about,
  formula: plainText(about.formula),
  ...(about.notes !== undefined && { notes: plainText(about.notes) }),
  options: z.toJSONSchema(schema, { io: "input" }),
});

function unknownText(name: string, all: readonly MethodFacts[]): string {
  const names = all.map((method) => method.name);
  const near = nearest(name, names);
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  return `there is no method ${name}${hint}\nexpected a scenario file or one of ${names.join(", ")}`;
}
