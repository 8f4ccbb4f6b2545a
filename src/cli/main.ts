#!/usr/bin/env node
/**
 * The `flame` command. Each file of `commands/` is one command and exports `register`.
 *
 * Exit codes: 0 ok; 1 the run failed or a bug; 2 wrong usage, scenario or input; 3 expectations not met;
 * 130 interrupted.
 */
import { readdirSync, realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Command, CommanderError } from "commander";
import { programVersion } from "../run/package.ts";
import { restartWithHugePages } from "./huge-pages.ts";
import { exitCodes, reportFailure } from "./screen/failure.ts";
import { terminal } from "./screen/terminal.ts";

interface CommandFile {
  register(program: Command): void;
}

/** Carries out one command line and returns its exit code. */
export async function flame(words: readonly string[]): Promise<number> {
  const program = new Command("flame")
    .description("Simulates federated fine-tuning of sparse-mixture-of-experts language models on unequal clients.")
    .version(programVersion())
    .showSuggestionAfterError()
    .configureHelp({ sortSubcommands: true })
    .configureOutput({
      writeOut: (text) => void terminal.out.write(text),
      writeErr: (text) => void terminal.err.write(text),
    })
    .exitOverride();
  const folder = new URL("./commands/", import.meta.url);
  for (const name of readdirSync(folder).sort()) {
    if (!/\.[jt]s$/.test(name) || name.endsWith(".d.ts")) continue;
    const command = (await import(new URL(name, folder).href)) as CommandFile;
    command.register(program);
  }
  for (const command of program.commands) command.exitOverride().copyInheritedSettings(program);
  const before = process.exitCode;
  process.exitCode = undefined;
  try {
    await program.parseAsync(words, { from: "user" });
    return Number(process.exitCode ?? exitCodes.ok);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    return reportFailure(error, { json: words.includes("--json"), stack: process.env.FLAME_DEBUG === "1" });
  } finally {
    process.exitCode = before;
  }
}

/** True also when npm's link in node_modules/.bin was called. */
function isEntry(path: string | undefined): boolean {
  if (path === undefined) return false;
  try {
    return realpathSync(path) === fileURLToPath(import.meta.url);
  } catch {
    return false;
  }
}

if (isEntry(process.argv[1])) {
  restartWithHugePages();
  process.exitCode = await flame(process.argv.slice(2));
}
