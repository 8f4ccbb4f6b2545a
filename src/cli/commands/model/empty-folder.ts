/** Folders that a command fills: what is in them is never overwritten unasked. */
import { existsSync, readdirSync } from "node:fs";
import { ScenarioError } from "../../../base/errors.ts";

/**
 * @param besides what else would do, for the message
 * @param own may such a file be there? It is one the command leaves there itself
 * @throws ScenarioError naming a file that is in the way
 */
export function requireEmpty(folder: string, besides = "", own: (name: string) => boolean = () => false): void {
  if (!existsSync(folder)) return;
  let names: string[];
  try {
    names = readdirSync(folder).sort();
  } catch {
    throw new ScenarioError(`--to ${folder} is a file, expected a folder that is empty or does not exist`);
  }
  const found = names.find((name) => !own(name));
  if (found === undefined) return;
  const wanted = `expected a folder that is empty or does not exist${besides}`;
  throw new ScenarioError(`--to ${folder} already holds ${found}, ${wanted}`);
}
