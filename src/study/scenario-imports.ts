/**
 * What imports mean in a scenario, as hooks of Node's module loader: `flame-sim` is the running program, and a scenario is
 * a module, whatever the package.json above it says or does not say. `npm init` writes "commonjs", and what to make of
 * neither is different in every version of Node. Other people's `.js` keeps its meaning.
 */
import module, {
  type ResolveFnOutput,
  type ResolveHook,
  type ResolveHookContext,
  type ResolveHookSync,
} from "node:module";
import { extname } from "node:path";

const sibling = (path: string): string => new URL(`${path}${extname(import.meta.url)}`, import.meta.url).href;
const program = sibling("../index");
const loader = sibling("./load-scenario");

export function hookImports(): void {
  const { registerHooks }: Partial<typeof module> = module;
  // Before Node 22.15 hooks have a thread of their own, which takes a tenth of a second to start.
  if (registerHooks === undefined) module.register(import.meta.url);
  else registerHooks({ resolve: resolveHere });
}

const resolveHere: ResolveHookSync = (name, context, next) => asModule(next(target(name), context), context);

/** As `module.register` looks for it. */
export const resolve: ResolveHook = async (name, context, next) => asModule(await next(target(name), context), context);

const target = (name: string): string => (name === "flame-sim" ? program : name);

function asModule(found: ResolveFnOutput, { parentURL }: ResolveHookContext): ResolveFnOutput {
  const isScenario = parentURL === loader && /\.[jt]s(\?|$)/.test(found.url);
  const isBeside = /^file:.*\.ts(\?|$)/.test(found.url) && !found.url.includes("/node_modules/");
  return isScenario || isBeside ? { ...found, format: "module" } : found;
}
