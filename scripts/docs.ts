/**
 * Writes what methods say of themselves into docs/methods, a page each, and docs/strategies.md, and what schemas say of
 * events and files into docs/files.md, between the marks of a page:
 *
 *   npm run docs               writes
 *   npm run docs -- --check    only says which pages are not up to date
 *   npm run docs -- --pictures [NAME …]   runs a small scenario for each method, or for these, and draws it first
 *
 * What stands outside the marks is kept. A page that is not there yet gets all marks.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  allMethods,
  type MethodFacts,
  optionRows,
  plainText,
  reductionsOf,
  tasksInWords,
} from "../src/cli/screen/method-facts.ts";
import { bytesOf, type Plan } from "../src/fl/plan.ts";
import { strategyFromSpec } from "../src/fl/strategies/registry.ts";
import { beginning, played, smallTask } from "../src/testing/small-task.ts";
import { filesPage } from "./files-page.ts";
import { captionOf, drawPicture } from "./pictures.ts";

/** The nineteen systems that the program is for; the rest are what they are compared with. */
const systems: Readonly<Record<string, string>> = {
  flame: "FLAME",
  flood: "FLood",
  hfedmoe: "HFedMoE",
  "mixture-of-ranks": "Mixture of Ranks",
  "fft-moe": "FFT-MoE",
  shefl: "SHEFL",
  fslora: "FSLoRA",
  ccfao: "CC-FAO",
  otaffl: "OTA-FFL",
  "lora-fair": "LoRA-FAIR",
  "read-me": "Read-ME",
  fedmoe: "FedMoE",
  embracingfl: "EmbracingFL",
  ewwa: "EWWA-FL",
  flexlora: "FlexLoRA",
  bmsfed: "BMSFed",
  fedvra: "FedVRA",
  "fl-games": "FL Games",
  "split-mix": "Split-Mix",
};

/** Where the golden numbers of a method have another name than its own. */
const goldenNames: Readonly<Record<string, string>> = {
  ccfao: "cc-fao",
  ewwa: "ewwa-fl",
  fedadagrad: "fedopt",
  fedadam: "fedopt",
  fedavgm: "fedopt",
  fedyogi: "fedopt",
  otaffl: "ota-ffl",
  overTheAir: "ota-ffl",
  qffl: "q-ffl",
};

/** Scenarios made for a method; others run where FLAME does. */
const scenarios: Readonly<Record<string, string>> = {
  bmsfed: "two-view",
  embracingfl: "vision",
  flame: "quickstart",
  "fl-games": "coloured",
  "mixture-of-ranks": "restore",
  "read-me": "refactor",
  "read-me-gates": "pregating",
  "split-mix": "split-mix",
};

const root = join(import.meta.dirname, "..");
const pages = join(root, "docs", "methods");
const goldenTests = readdirSync(join(root, "test", "golden"))
  .filter((name) => name.endsWith(".test.ts"))
  .map((name) => `test/golden/${name}`);

const table = (rows: readonly (readonly string[])[]): string =>
  rows.map((row) => `| ${row.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`).join("\n");

/** Of the plan that tells bytes, where the usual ones leave nothing of so small a model. */
const smallOptions: Readonly<Record<string, object>> = { "split-mix": { bases: 2, minOne: true } };

const titleOf = ({ name }: MethodFacts): string => systems[name] ?? `\`${name}\``;

function goldenOf({ name }: MethodFacts): string {
  const golden = goldenNames[name] ?? name;
  const path = `test/golden/data/methods/${golden}.json`;
  const readers = goldenTests.filter((test) =>
    new RegExp(`goldensOf\\([^)]*"${golden}"`).test(readFileSync(join(root, test), "utf8")),
  );
  if (readers.length === 0) return "–";
  const link = (file: string): string => `[\`${file.split("/").at(-1)}\`](../../${file})`;
  return `${link(path)}, read by ${readers.map(link).join(", ")}`;
}

/** A value of a wrapper's field. */
const exampleOf = ({ schema }: MethodFacts): unknown =>
  [{}, { type: "adam" }, 1].find((value) => schema.safeParse(value).success);

/** What the plans of round 1 cost clients of each budget, in a model so small that all besides it is seen. */
async function costsOfSmall(method: MethodFacts): Promise<readonly (readonly string[])[]> {
  const { name, wraps } = method;
  const options = wraps ? { [name]: exampleOf(method) } : smallOptions[name];
  const strategy = strategyFromSpec({ type: wraps ? "fedavg" : name, ...options });
  const { task, setting } = smallTask(strategy);
  const { layout, budgets } = setting;
  const { answers } = played(strategy, await beginning(strategy, 1), { seed: 1 });
  const each = (textOf: (plan: Plan) => string): string => {
    const texts = budgets.map((_, at) => textOf(answers[at]!.plan));
    const isOne = texts.every((text) => text === texts[0]);
    return isOne ? texts[0]! : budgets.map((budget, at) => `budget ${budget}: ${texts[at]}`).join("; ");
  };
  const bytes = each((plan) => {
    const { down, up } = bytesOf(plan, layout);
    return `${down} down, ${up} up${plan.preliminary === undefined ? "" : `, ${plan.preliminary.up} ahead of it`}`;
  });
  const work = each(({ kind, scope, members }) => {
    const models = members?.length ?? strategy.shape?.members ?? 1;
    return String(Math.round(models * task.cost(kind.variant, scope).training));
  });
  const given = options === undefined ? "" : `, with \`${JSON.stringify(options)}\``;
  return [
    [`bytes of round 1, for ${layout.size} parameters${given}`, `${bytes}; all parameters: ${4 * layout.size}`],
    ["FLOP to train on a token, image or row, in that model", work],
  ];
}

function commandOf(method: MethodFacts): string {
  const { name, wraps } = method;
  if (wraps) return `npx flame run quickstart --set 'strategy.${name}=${JSON.stringify(exampleOf(method))}'`;
  const scenario = scenarios[name];
  return scenario === undefined
    ? `npx flame compare quickstart --strategies ${name},${name === "fedavg" ? "flame" : "fedavg"}`
    : `npx flame run ${scenario}`;
}

function ruleOf({ about: { adapts, formula, notes }, schema }: MethodFacts): string {
  const options = optionRows(schema);
  return [
    `**Adapts** ${adapts}.`,
    `\`\`\`\n${plainText(formula)}\n\`\`\``,
    ...(notes === undefined ? [] : [plainText(notes)]),
    ...(options.length === 0
      ? []
      : [table([["option", "values", "default", "means"], Array(4).fill("---"), ...options])]),
  ].join("\n\n");
}

/** What a real run looked like; nothing where nobody has drawn one. */
function pictureOf(method: MethodFacts): string {
  const { name } = method;
  const caption = captionOf(name);
  if (caption === null) return "";
  const text = caption.replaceAll("&lt;", "<").replaceAll("&amp;", "&");
  return `\n\n![${titleOf(method)} in a small run](pictures/${name}.svg)\n\n${text} \`npm run docs -- --pictures ${name}\` draws it.`;
}

async function factsIn(method: MethodFacts): Promise<string> {
  const { sends, keeps, certainty, sources } = method.about;
  const facts = table([
    ["", ""],
    ["---", "---"],
    [method.wraps ? "field of a strategy" : "`type`", `\`${method.name}\``],
    ["tasks", method.wraps ? "of the strategy it is around" : tasksInWords(method)],
    ["clients send besides the model", sends ?? "nothing"],
    ["kept from round to round", keeps ?? "nothing"],
    ...(await costsOfSmall(method)),
    ...reductionsOf(method.about).map((text) => ["is", text]),
    ["certainty", certainty],
    ...sources.map(({ by, title, year, url }) => ["source", `${by}, [${title}](${url}), ${year}`]),
    ["golden numbers", goldenOf(method)],
    ["runs", `\`${commandOf(method)}\``],
  ]);
  return `${facts}${pictureOf(method)}`;
}

/** What each says of itself, for the page on strategies. */
const strategyRows = (title: string, ofClients: string, methods: readonly MethodFacts[]): string =>
  table([
    [title, "adapts", ofClients, "is kept", "source", "certainty"],
    Array(6).fill("---"),
    ...methods.map(({ name, about: { adapts, sends, keeps, sources, certainty } }) => {
      const papers = sources.map(({ by, year, url }) => `[${by} ${year}](${url})`).join(", ");
      return [`\`${name}\``, adapts, sends ?? "–", keeps ?? "–", papers, certainty];
    }),
  ]);

function listing(methods: readonly MethodFacts[]): string {
  return table([
    ["method", "name here", "tasks", "certainty", "golden numbers"],
    Array(5).fill("---"),
    ...methods.map((method) => [
      `[${titleOf(method)}](${method.name}.md)`,
      method.wraps ? `field \`${method.name}\`` : `\`${method.name}\``,
      method.wraps ? "as what it is around" : tasksInWords(method),
      method.about.certainty,
      goldenOf(method),
    ]),
  ]);
}

/** The text of a page with its marked parts filled in. */
function filled(text: string, parts: Readonly<Record<string, string>>): string {
  return Object.entries(parts).reduce((page, [name, part]) => {
    const [begin, end] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`];
    const [from, to] = [page.indexOf(begin), page.indexOf(end)];
    return from < 0 || to < from ? page : `${page.slice(0, from + begin.length)}\n\n${part}\n\n${page.slice(to)}`;
  }, text);
}

const problems: string[] = [];
const isCheck = process.argv.includes("--check");

function put(name: string, fresh: string, parts: Readonly<Record<string, string>>, folder = pages): string {
  const path = join(folder, `${name}.md`);
  const before = existsSync(path) ? readFileSync(path, "utf8") : null;
  const text = filled(before ?? fresh, parts);
  if (isCheck && text !== before) problems.push(`${name}.md is not up to date; npm run docs writes it`);
  if (!isCheck) writeFileSync(path, text);
  return text;
}

const marked = (name: string): string => `<!-- ${name} -->\n<!-- end of ${name} -->\n`;

const methods = allMethods();
if (process.argv.includes("--pictures")) {
  const named = process.argv.slice(process.argv.indexOf("--pictures") + 1);
  const strangers = named.filter((name) => !methods.some((method) => method.name === name));
  if (strangers.length > 0) throw new Error(`${strangers.join(", ")}: no such method`);
  for (const method of methods) if (named.length === 0 || named.includes(method.name)) await drawPicture(method);
}
for (const method of methods) {
  const fresh = `# ${titleOf(method)}\n\n${marked("rule")}\n## Facts\n\n${marked("facts")}`;
  const text = put(method.name, fresh, { rule: ruleOf(method), facts: await factsIn(method) });
  // Where the rule is told by hand, options are too.
  const untold = optionRows(method.schema).filter(([option]) => !text.includes(option));
  for (const [option] of untold) problems.push(`${method.name}.md says nothing of its option ${option}`);
}
const byName = new Map(methods.map((method) => [method.name, method]));
put("README", `# Methods\n\n${marked("systems")}\n${marked("others")}`, {
  systems: listing(Object.keys(systems).map((name) => byName.get(name)!)),
  others: listing(methods.filter(({ name }) => systems[name] === undefined)),
});
put(
  "strategies",
  `# Strategies\n\n${marked("strategies")}\n${marked("wrappers")}`,
  {
    strategies: strategyRows(
      "`type`",
      "clients send besides the model",
      methods.filter(({ wraps }) => !wraps),
    ),
    wrappers: strategyRows(
      "field",
      "clients send",
      methods.filter(({ wraps }) => wraps),
    ),
  },
  join(root, "docs"),
);
const aboutFiles = `# Events and files

What \`flame run --json\` and \`flame resume --json\` print, one JSON object a line with its \`event\`, and what a run leaves in
its folder. Times are milliseconds of virtual time unless a field says otherwise; losses are in nats; shares lie in [0, 1]. A
number that left the finite ones is \`null\`.

## Events

${marked("events")}
A study (\`stress\`, \`compare\`, \`sweep\`) prints \`expected\` with \`cells\`, \`atOnce\` and \`milliseconds\`; for each cell that is done
\`cell\` with its \`method\`, \`condition\`, \`run\` and the fields of \`cell\` in \`cells.jsonl\`; and \`ended\` with its \`folder\` and how many
\`cells\` \`of\` all are done, \`failed\` or \`broken\`. A mistake or a failure is one line on standard error: \`{"event":"error","kind":…,"message":…}\`.

## Files

\`scenario.json\` is the scenario with every default (\`flame help scenario\`); \`adapter/\` the final adapter as PEFT reads it,
with \`rescalers.json\`; \`checkpoints/\` what \`flame resume\` goes on from; \`report.html\` is for people, \`timeline.json\` for
Perfetto; \`diagnostics.log\` has what the wall clock says. Everything else:

${marked("files")}
### \`events.jsonl\`

A row for whatever happened, with its instant \`t\` and its \`type\`; absent with \`trace: "digest"\`. Effects of a script have
their own fields besides.

${marked("trace")}
## Files of a study

${marked("studies")}`;
put("files", aboutFiles, filesPage(table), join(root, "docs"));
for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;
