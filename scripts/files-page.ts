/** What docs/files.md says of the events of `--json` and of the files of a run: from their schemas and their comments. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type * as z from "zod";
import { type Shape, shapeOf, valuesOf } from "../src/cli/screen/schema-fields.ts";
import { recordSchema, resultSchema } from "../src/folder/run-folder.ts";
import { roundMetricsSchema } from "../src/records/metrics.ts";
import { participationSchema } from "../src/records/participation.ts";
import { progressSchemas } from "../src/run/progress.ts";
import { endedSchema } from "../src/run/result.ts";
import { storedCellSchema } from "../src/study/cell.ts";
import { recordSchema as studySchema } from "../src/study/study.ts";
import { picturesSchema } from "../src/tasks/pictures.ts";

const source = (file: string): string => readFileSync(join(import.meta.dirname, "..", file), "utf8");

/** Comments of a file's fields by their paths, such as `tiers.part`: where a field stands is told by its indentation. */
function commentsIn(file: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const above: { readonly name: string; readonly indent: number }[] = [];
  let comment = "";
  let isOpen = false;
  for (const line of source(file).split("\n")) {
    const text = line.trim();
    if (isOpen || text.startsWith("/**")) {
      comment = isOpen ? `${comment} ${text}` : text;
      isOpen = !text.endsWith("*/");
      continue;
    }
    const [, blanks, name] = /^( *)(\w+):/.exec(line) ?? [];
    const indent = blanks?.length ?? line.search(/\S|$/);
    while ((above.at(-1)?.indent ?? -1) >= indent && text !== "") above.pop();
    if (name !== undefined) {
      above.push({ name, indent });
      const path = above.map((each) => each.name).join(".");
      if (comment !== "" && !found.has(path)) found.set(path, plainComment(comment));
    }
    comment = "";
  }
  return found;
}

const plainComment = (comment: string): string =>
  comment
    .replace(/^\/\*\*\s*|\s*\*\/$/g, "")
    .replaceAll(/ \*(?= |$)/g, "")
    .replace("@internal ", "");

interface Page {
  readonly name: string;
  readonly about: string;
  readonly schema: z.ZodType;
  /** Where its fields are explained. */
  readonly files: readonly string[];
}

const counts = ["src/records/metrics.ts", "src/records/totals.ts", "src/records/counts.ts"];

const aboutEvent: Readonly<Record<keyof typeof progressSchemas, string>> = {
  began: "The first line of a run that could be prepared.",
  forecast: "What the run will take; see `flame forecast`.",
  status: "How the open round stands.",
  round: "A round has closed.",
  note: "A sentence.",
};

const events: readonly Page[] = [
  ...Object.entries(progressSchemas).map(([name, schema]) => ({
    name,
    schema,
    about: aboutEvent[name as keyof typeof progressSchemas],
    files: name === "forecast" ? ["src/records/forecast.ts"] : ["src/run/progress.ts", ...counts],
  })),
  {
    name: "ended",
    about: "The last line; what a run came to is in `result.json`.",
    schema: endedSchema,
    files: ["src/run/result.ts", "src/folder/run-folder.ts"],
  },
];

const files: readonly Page[] = [
  {
    name: "metrics.jsonl",
    about: "A row for each round; row 0 is the base model.",
    schema: roundMetricsSchema,
    files: counts,
  },
  {
    name: "participations.jsonl",
    about: "A row for each client's part in a round, when its outcome is settled.",
    schema: participationSchema,
    files: ["src/records/participation.ts", "src/records/counts.ts"],
  },
  {
    name: "result.json",
    about: "What a finished run came to; the same for any two runs of one scenario and seed.",
    schema: resultSchema,
    files: ["src/folder/run-folder.ts", "src/folder/provenance.ts", ...counts],
  },
  {
    name: "run.json",
    about: "How the run stands and how it was asked for.",
    schema: recordSchema,
    files: ["src/folder/run-folder.ts", "src/folder/provenance.ts"],
  },
  {
    name: "pictures.json",
    about: "Of tasks that have some: what the report shows.",
    schema: picturesSchema,
    files: ["src/tasks/pictures.ts"],
  },
];

const studies: readonly Page[] = [
  {
    name: "study.json",
    about: "What is varied, and where each cell stands.",
    schema: studySchema,
    files: ["src/study/study.ts"],
  },
  {
    name: "cells.jsonl",
    about: "A row for each cell that is done: its `key` in `study.json`, and as its `cell` what follows.",
    schema: storedCellSchema,
    files: ["src/study/cell.ts", "src/study/books.ts", "src/study/fairness.ts", ...counts],
  },
];

/** `tiers[].tier`: fields of objects and of lists of objects below their own row; a `row` is one of `metrics.jsonl`. */
function rowsOf(shape: Shape, comments: readonly ReadonlyMap<string, string>[], page: string, within = ""): string[][] {
  const inner = shape.items ?? shape;
  const { properties = {}, required = [] } = inner;
  const here = shape.items === undefined ? within : `${within}[]`;
  return Object.entries(properties).flatMap(([name, field]) => {
    const path = here === "" ? name : `${here}.${name}`;
    const optional = required.includes(name) ? "" : ", may be absent";
    return [
      [`\`${path}\``, `${valuesOf(field)}${optional}`, aboutField(path, comments, page)],
      ...(name === "row" ? [] : rowsOf(field, comments, page, path)),
    ];
  });
}

/** Its own comment, or that of the schema which it is a field of. */
function aboutField(path: string, [own, ...others]: readonly ReadonlyMap<string, string>[], page: string): string {
  const plain = path.replaceAll("[]", "");
  const [, ...below] = plain.split(".");
  const names = below.map((_, at) => below.slice(at).join("."));
  const found = names.flatMap((name) => [own!, ...others].map((comments) => comments.get(name)));
  return own!.get(`${page}.${plain}`) ?? own!.get(plain) ?? found.find((comment) => comment !== undefined) ?? "";
}

const section =
  (table: (rows: readonly (readonly string[])[]) => string) =>
  ({ name, about, schema, files: sources }: Page): string =>
    [
      `### \`${name}\``,
      about,
      table([
        ["field", "values", "means"],
        Array<string>(3).fill("---"),
        ...rowsOf(shapeOf(schema), sources.map(commentsIn), name),
      ]),
    ].join("\n\n");

/** Rows of the trace, wherever one is written. */
function traceRows(): string[][] {
  const folders = ["src/sim", "src/runtime", "src/run", "actors"];
  const texts = folders.flatMap((folder) =>
    readdirSync(join(import.meta.dirname, "..", folder), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .sort()
      .map((file) => source(join(folder, file))),
  );
  const shapes = texts.flatMap((text) => [...text.matchAll(/new RowShape\(((?:"[\w-]+",? ?)+)\)/g)]);
  const plain = texts.flatMap((text) => [
    ...text.matchAll(/\{ t: [\w.]+, type: ("[\w-]+"(?:, [\w.]+(?:: [^,}]+)?)*)/g),
  ]);
  const rows = [
    ...shapes.map(([, names]) => names!.split(", ").map((name) => name.replaceAll('"', ""))),
    ...plain.map(([, fields]) =>
      fields!.split(", ").map((field) => field.replace(/:.*|"/g, "").replaceAll('"', "").trim()),
    ),
  ];
  return rows
    .map((names) => names.filter((name) => !name.startsWith("...")))
    .map(([type, ...fields]) => [`\`${type}\``, fields.map((field) => `\`${field}\``).join(", ")])
    .sort(([a], [b]) => (a! < b! ? -1 : 1));
}

/** The marked parts of the page. */
export function filesPage(table: (rows: readonly (readonly string[])[]) => string): Record<string, string> {
  return {
    events: events.map(section(table)).join("\n\n"),
    files: files.map(section(table)).join("\n\n"),
    studies: studies.map(section(table)).join("\n\n"),
    trace: table([["type", "fields besides `t` and `type`"], ["---", "---"], ...traceRows()]),
  };
}
