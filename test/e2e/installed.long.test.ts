/** What `npm run build` makes, used as a package: from a folder of someone else's, on every Node of this machine. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { promisify } from "node:util";
import { packageRoot } from "../../src/base/places.ts";
import { folderOfFile } from "../support/folders.ts";
import { otherNodes } from "../support/nodes.ts";
import { tinyModel } from "../support/tiny-model.ts";

const start = promisify(execFile);
const root = packageRoot();
const tsc = join(root, "node_modules", "typescript", "bin", "tsc");

const folder = folderOfFile();
let app = "";
const model = tinyModel(folder);
before(async () => {
  app = join(folder, "app");
  const installed = join(app, "node_modules", "flame-sim");
  mkdirSync(installed, { recursive: true });
  cpSync(join(root, "package.json"), join(installed, "package.json"));
  cpSync(join(root, "scenarios"), join(installed, "scenarios"), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(installed, "node_modules"));
  await start(process.execPath, ["bin/build.mjs", join(installed, "dist")], { cwd: root });
});

const scenario = () => `
import { defineScenario, iid, instructions, megabits, minutes } from "flame-sim";
import { clients } from "./fleet.ts";

export default defineScenario({
  name: "mine",
  seed: 3,
  model: ${JSON.stringify(model)},
  lora: { rank: 2, alpha: 4 },
  data: { source: instructions({ examples: 40 }), partition: iid(), maxTokens: 48 },
  fleet: [{ name: "phone", clients, budget: 1, tokensPerSecond: 150, uplink: megabits(5) }],
  rounds: { count: 1, cohort: 2, deadline: minutes(5) },
  training: { batchSize: 4, maxSteps: 1 },
  evaluationExamples: 4,
});
`;

/** A project with a scenario, under a package.json like this. */
function project(name: string, manifest: object): string {
  const place = join(app, name);
  mkdirSync(place);
  writeFileSync(join(place, "package.json"), JSON.stringify(manifest));
  writeFileSync(join(place, "fleet.ts"), "export const clients: number = 2;\n");
  writeFileSync(join(place, "mine.ts"), scenario());
  return place;
}

test("a scenario runs on worker threads, whatever the package.json above it says, on every Node", async (t) => {
  const main = join(app, "node_modules", "flame-sim", "dist", "src", "cli", "main.js");
  const environment = { ...process.env, XDG_CACHE_HOME: join(folder, "cache") };
  // What `npm init` writes, and what people write who never heard of it.
  const places = [project("commonjs", { type: "commonjs" }), project("untold", {})];
  const nodes = [{ path: process.execPath, version: process.version }, ...otherNodes()];
  const adapters = new Set<string>();
  for (const { path, version } of nodes) {
    for (const place of places) {
      const words = [main, "run", "mine.ts", "--workers", "1", "--out", version];
      await assert.doesNotReject(start(path, words, { cwd: place, env: environment }), `${version} in ${place}`);
      adapters.add(readFileSync(join(place, version, "adapter", "adapter_model.safetensors"), "base64"));
    }
    t.diagnostic(version);
  }
  assert.equal(adapters.size, 1, "every Node leaves the same adapter");
});

test("the published types need nothing but the package, and find a mistake", async () => {
  const place = project("typed", { type: "module" });
  const check = (file: string) =>
    start(
      process.execPath,
      [
        tsc,
        "--ignoreConfig",
        "--noEmit",
        "--strict",
        "--exactOptionalPropertyTypes",
        "--allowImportingTsExtensions",
      ].concat(["--target", "es2023", "--module", "nodenext", "--types", "", file]),
      { cwd: place },
    );
  const found = await check("mine.ts").then(
    () => "",
    ({ stdout }: { stdout: string }) => stdout,
  );
  assert.equal(found, "");
  writeFileSync(join(place, "wrong.ts"), scenario().replace("budget:", "topk:"));
  await assert.rejects(check("wrong.ts"), ({ stdout }: { stdout: string }) => /'topk' does not exist/.test(stdout));
});
