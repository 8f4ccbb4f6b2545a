/**
 * The `flame` command: from the words of a command line to an exit code.
 *
 * Exit codes: 0 ok; 1 the run failed or a bug; 2 wrong usage, scenario or input; 3 expectations not met; 4 the model diverged;
 * 130 interrupted by Ctrl-C, 143 by `kill`, 129 by a closing terminal.
 */
import { Command, CommanderError, Help } from "commander";
import { programVersion } from "../run/package.ts";
import { declareCommands } from "./commands.ts";
import { exitCodes, reportFailure } from "./screen/failure.ts";
import { terminal } from "./screen/terminal.ts";

/**
 * Carries out one command line and returns its exit code.
 *
 * @param prepare called before a command begins; help and mistakes of usage do without
 */
export async function flame(words: readonly string[], prepare: () => Promise<void> = async () => {}): Promise<number> {
  const program = new Command("flame")
    .description("Simulates federated fine-tuning of sparse-mixture-of-experts language models on unequal clients.")
    .version(programVersion())
    .addHelpText(
      "after",
      "\nExit codes: 0 ok, 1 the run or the machine failed, 2 wrong scenario, input or usage, 3 an expectation was not met,\n" +
        "4 the model diverged, 130 interrupted by Ctrl-C (143 by kill, 129 by a closing terminal).",
    )
    .showSuggestionAfterError()
    .helpCommand(false)
    .configureHelp({
      sortSubcommands: true,
      // That a list is empty unless given goes without saying.
      optionDescription: (option) => new Help().optionDescription(option).replace(/ \(default: (\[\]|\{\})\)$/, ""),
    })
    .configureOutput({
      writeOut: (text) => void terminal.out.write(text),
      writeErr: (text) => void terminal.err.write(text),
    })
    .hook("preAction", prepare)
    .exitOverride();
  declareCommands(program);
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
