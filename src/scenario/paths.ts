/** Where the files lie that a scenario names by paths of its own, wherever the command is typed that reads it again. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { DataSource } from "../tasks/sources.ts";

interface NamesFiles {
  readonly model: unknown;
  readonly data: { readonly source: DataSource };
}

/**
 * The same scenario with absolute paths of its base model and its data files. A project that was moved as a whole has them
 * below today's working folder.
 *
 * @param startedIn the working folder of the command that began the run
 */
export function withPaths<Scenario extends NamesFiles>(scenario: Scenario, startedIn: string): Scenario {
  const { model, data } = scenario;
  const { source } = data;
  const whole = (path: string): string => {
    const there = resolve(startedIn, path);
    return existsSync(there) ? there : resolve(path);
  };
  return {
    ...scenario,
    ...(typeof model === "string" && model !== "embedded" ? { model: whole(model) } : {}),
    data: { ...data, source: withWhole(source, whole) },
  };
}

function withWhole(source: DataSource, whole: (path: string) => string): DataSource {
  if (source.type !== "file" && source.type !== "images" && source.type !== "csv") return source;
  const labels = source.type === "images" ? source.labels : undefined;
  return {
    ...source,
    ...(source.path !== undefined && { path: whole(source.path) }),
    ...(labels !== undefined && { labels: whole(labels) }),
  };
}
