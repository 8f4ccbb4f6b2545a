/** Where the files lie that a scenario names by paths of its own, wherever the command is typed that reads it again. */
import { existsSync } from "node:fs";
import { isAbsolute, relative, resolve } from "node:path";
import type { DataSource } from "../tasks/sources.ts";
import type { Scenario } from "./define.ts";

interface NamesFiles {
  readonly model: unknown;
  readonly task: { readonly type: string; readonly model?: string };
  readonly warmStart?: string;
  readonly data: { readonly source: DataSource };
}

/**
 * The same scenario with absolute paths of its base model, its data and what it begins with. A project that was moved as a whole has them
 * below today's working folder.
 *
 * @param startedIn the working folder of the command that began the run
 */
export const withPaths = <Fields extends NamesFiles>(fields: Fields, startedIn: string): Fields =>
  mapPaths(fields, (path) => {
    const there = resolve(startedIn, path);
    return existsSync(there) ? there : resolve(path);
  });

/** The same scenario with paths that begin in the folder `to` where they began in `from`: that of its file. */
export function rebased(scenario: Scenario, from: string, to: string): Scenario {
  if (resolve(from) === resolve(to)) return scenario;
  const moved = (path: string): string => (isAbsolute(path) ? path : relative(to, resolve(from, path)));
  return { ...scenario, data: mapPaths(scenario.data, moved) };
}

/** Models that are named and not where they lie. */
const withProgram = ["dense", "embedded"];

function mapPaths<Fields extends NamesFiles>(fields: Fields, map: (path: string) => string): Fields {
  const { model, task, warmStart, data } = fields;
  return {
    ...fields,
    ...(typeof model === "string" && model !== "embedded" && { model: map(model) }),
    ...(task.model !== undefined && !withProgram.includes(task.model) && { task: { ...task, model: map(task.model) } }),
    ...(warmStart !== undefined && { warmStart: map(warmStart) }),
    data: { ...data, source: mapSource(data.source, map) },
  };
}

function mapSource(source: DataSource, map: (path: string) => string): DataSource {
  if (source.type !== "file" && source.type !== "images" && source.type !== "csv") return source;
  const labels = source.type === "images" ? source.labels : undefined;
  return {
    ...source,
    ...(source.path !== undefined && { path: map(source.path) }),
    ...(labels !== undefined && { labels: map(labels) }),
  };
}
