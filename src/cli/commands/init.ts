/** `flame init <folder>`: a folder to begin in, with a scenario that runs at once and the types an editor needs. */
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { Draft, makeFolder, onDisk } from "../../base/disk.ts";
import { ScenarioError } from "../../base/errors.ts";
import { packageRoot } from "../../base/places.ts";
import { terminal } from "../screen/terminal.ts";
import { quote } from "./run.ts";

export function init(folder: string): void {
  if (existsSync(folder) && onDisk(`cannot read ${folder}`, () => readdirSync(folder)).length > 0) {
    throw new ScenarioError(`${folder} is not empty; expected a folder that is, or that is not there yet`);
  }
  const draft = new Draft();
  try {
    onDisk(`cannot write ${folder}`, () => {
      makeFolder(folder);
      for (const [name, text] of Object.entries(filesOf())) writeFileSync(draft.add(join(folder, name)), text);
    });
    draft.keep();
  } finally {
    draft.remove();
  }
  const path = quote(relative(".", join(folder, "scenario.ts")));
  terminal.out.write(
    `${Object.keys(filesOf()).join(", ")} in ${folder}\n` +
      `npx flame forecast ${path}   says what it will take\nnpx flame run ${path}        runs it\n` +
      `npm install in ${folder} brings types for an editor, and npm start\n`,
  );
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

const filesOf = (): Readonly<Record<string, string>> => ({
  "scenario.ts": scenario,
  "package.json": json({
    private: true,
    type: "module",
    scripts: {
      start: "flame run scenario.ts",
      forecast: "flame forecast scenario.ts",
      compare: "flame compare scenario.ts --strategies flame,fedavg --seeds 3",
      check: "tsc",
    },
    devDependencies: { "flame-sim": `file:${packageRoot()}`, typescript: "^5.9.0" },
  }),
  "tsconfig.json": json({
    compilerOptions: {
      target: "es2023",
      module: "nodenext",
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: true,
      noEmit: true,
      allowImportingTsExtensions: true,
    },
    include: ["*.ts"],
  }),
  ".gitignore": "node_modules/\nruns/\n",
});

const scenario = `/**
 * Do phones that afford one expert per token help the laptops that afford four?
 *
 *   npx flame forecast scenario.ts
 *   npx flame run scenario.ts
 */
import { defineScenario, dirichlet, flame, instructions, lossFalls, megabits, minutes } from "flame-sim";

export default defineScenario({
  name: "two-tiers",
  question: "Do phones that afford one expert per token help the laptops that afford four?",
  seed: 1,
  data: { source: instructions({ examples: 1_000 }), partition: dirichlet({ alpha: 0.3 }), maxTokens: 48 },
  fleet: [
    { name: "phone", clients: 12, budget: 1, tokensPerSecond: 150, uplink: megabits(5), dropout: 0.2 },
    { name: "laptop", clients: 4, budget: 4, tokensPerSecond: 800, uplink: megabits(20) },
  ],
  rounds: { count: 4, cohort: 8, deadline: minutes(2), minUpdates: 2 },
  training: { batchSize: 16, learningRate: 3e-3 },
  strategy: flame({ frequencyExponent: 2 }),
  evaluateEvery: 2,
  evaluationExamples: 64,
  expect: [lossFalls({ by: 0.2 })],
});
`;
