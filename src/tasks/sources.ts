/** What a scenario learns from, whatever its task. */
import { z } from "zod";
import { ScenarioError } from "../base/errors.ts";
import { type ImageSource, imageSourceSchema, isImageSource } from "../data/images/source.ts";
import { type TextSource, textSourceSchema } from "../data/source.ts";

export const sourceSchema = z.discriminatedUnion("type", [...textSourceSchema.options, ...imageSourceSchema.options]);

export type DataSource = TextSource | ImageSource;

/** The file that a source reads; undefined for one that reads none. */
export const pathOf = (source: DataSource): string | undefined => ("path" in source ? source.path : undefined);

/**
 * @param learns what the task does, and which sources it takes
 * @throws ScenarioError for another source
 */
export function requireImages(source: DataSource, scenario: string, learns: string): ImageSource {
  if (isImageSource(source)) return source;
  throw new ScenarioError(`scenario "${scenario}": data.source is ${source.type}, but the task ${learns}`);
}

/** @throws ScenarioError for anything else */
export function requireText(source: DataSource): TextSource {
  if (!isImageSource(source)) return source;
  const what = "a language model learns text; expected instructions(…) or file(…)";
  throw new ScenarioError(`data.source is ${source.type}, but ${what}`);
}
