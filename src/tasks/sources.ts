/** What a scenario learns from, whatever its task. */
import * as z from "zod";
import { ScenarioError } from "../base/errors.ts";
import { type ImageSource, imageSourceSchema } from "../data/images/source.ts";
import { type TextSource, textSourceSchema } from "../data/source.ts";
import { type TableSource, tableSourceSchema } from "../data/tables/source.ts";

export const sourceSchema = z.discriminatedUnion("type", [
  ...textSourceSchema.options,
  ...imageSourceSchema.options,
  ...tableSourceSchema.options,
]);

/** Tables know `records` as well, which stands among the sources of text. */
export type DataSource = TextSource | ImageSource | TableSource;

/** The file that a source reads; undefined for one that reads none. */
export const pathOf = (source: DataSource): string | undefined => ("path" in source ? source.path : undefined);

/**
 * @param is what a task takes
 * @param learns the name of the task, what it learns, and which sources those are
 * @throws ScenarioError for another source
 */
export function requireSource<Source extends DataSource>(
  source: DataSource,
  is: (source: DataSource) => source is Source,
  scenario: string,
  learns: string,
): Source {
  if (is(source)) return source;
  throw new ScenarioError(`scenario "${scenario}": data.source is ${source.type}, but the task ${learns}`);
}

/** @throws ScenarioError for images and tables */
export function requireText(source: DataSource): TextSource {
  if (source.type === "instructions" || source.type === "file" || source.type === "records") return source;
  const what = "a language model learns text; expected instructions(…), file(…) or records([…])";
  throw new ScenarioError(`data.source is ${source.type}, but ${what}`);
}
