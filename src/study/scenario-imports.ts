/**
 * What imports mean in a scenario, as hooks of Node's module loader: `flame-sim` is the running program, as is its source in
 * a checkout, and a scenario is a module, whatever the package.json above it says or does not say. `npm init` writes
 * "commonjs", and what to make of neither is different in every version of Node. Other people's `.js` keeps its meaning.
 */
import module, {
  type InitializeHook,
  type ResolveFnOutput,
  type ResolveHook,
  type ResolveHookContext,
  type ResolveHookSync,
} from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { moduleUrl, packageRoot } from "../base/places.ts";

const program = moduleUrl("src/index").href;
const source = pathToFileURL(join(packageRoot(), "src", "index.ts")).href;
let loader = "";

/** @param url of the module that imports scenarios */
export function hookImports(url: string): void {
  const { registerHooks }: Partial<typeof module> = module;
  loader = url;
  // Before Node 22.15 hooks have a thread of their own, which takes a tenth of a second to start.
  if (registerHooks === undefined) module.register(moduleUrl("src/study/scenario-imports"), { data: url });
  else registerHooks({ resolve: resolveHere });
}

/** On that thread. */
export const initialize: InitializeHook<string> = (url) => {
  loader = url;
};

const resolveHere: ResolveHookSync = (name, context, next) => asMeant(next(target(name), context), context);

/** As `module.register` looks for it. */
export const resolve: ResolveHook = async (name, context, next) => asMeant(await next(target(name), context), context);

const target = (name: string): string => (name === "flame-sim" ? program : name);

function asMeant(found: ResolveFnOutput, { parentURL }: ResolveHookContext): ResolveFnOutput {
  const isScenario = parentURL === loader && /\.[jt]s(\?|$)/.test(found.url);
  const isBeside = /^file:.*\.ts(\?|$)/.test(found.url) && !found.url.includes("/node_modules/");
  if (found.url === source) return { ...found, url: program, format: "module" };
  return isScenario || isBeside ? { ...found, format: "module" } : found;
}
