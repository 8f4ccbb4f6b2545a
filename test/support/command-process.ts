/** The `flame` command in tests as a process of its own, with signals. On this thread: `command-line.ts`. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Said } from "./command-line.ts";

export interface Started {
  readonly process: ChildProcess;
  /** Resolves when the output matches. */
  until(pattern: RegExp): Promise<void>;
  ended: Promise<Said & { readonly signal: NodeJS.Signals | null }>;
}

const fileIn = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** What a process is made from: the sources, or what is compiled from them, which starts in half of the time. */
export const programs = {
  source: ["--import", fileIn("scripts/typescript.mjs"), fileIn("src/cli/main.ts")],
  built: [fileIn("bin/flame.mjs")],
} as const;

/** Starts the command as a process. */
export function start(
  words: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  program: keyof typeof programs = "built",
): Started {
  const child = spawn(process.execPath, [...programs[program], ...words], {
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  let waiting: { pattern: RegExp; resolve: () => void; reject: (error: Error) => void }[] = [];
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
    waiting = waiting.filter(({ pattern, resolve }) => !pattern.test(out) || void resolve());
  });
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk.toString();
  });
  const ended = new Promise<Said & { signal: NodeJS.Signals | null }>((resolve) => {
    child.on("close", (code, signal) => {
      for (const { reject } of waiting) reject(new Error(`the command ended first\n${out}\n${err}`));
      resolve({ code: code ?? -1, out, err, signal });
    });
  });
  return {
    process: child,
    ended,
    until: (pattern) =>
      pattern.test(out)
        ? Promise.resolve()
        : new Promise((resolve, reject) => waiting.push({ pattern, resolve, reject })),
  };
}
