/** One command line as a process: whatever happens to it, it ends with a word and an exit code. */
import { MachineError, messageOf } from "../base/errors.ts";
import { restartWithHugePages } from "../engine/huge-pages.ts";
import { flame } from "./flame.ts";
import { exitCodes, reportFailure } from "./screen/failure.ts";

export async function begin(): Promise<void> {
  const words = process.argv.slice(2);
  const report = (error: unknown): number =>
    reportFailure(error, { json: words.includes("--json"), stack: process.env.FLAME_DEBUG === "1" });
  const output = watchOutput();
  let isOver = false;
  // With a promise of nobody's, too: what a run was about to do is not known any more.
  process.on("uncaughtException", (error) => {
    if (isOver) return;
    isOver = true;
    process.exit(report(error));
  });
  process.on("beforeExit", () => {
    if (isOver) return;
    isOver = true;
    process.exitCode = report(
      new MachineError("nothing is left to do, and the command is not done: what it waits for never comes"),
    );
  });
  process.on("exit", (code) => {
    if (!isOver) {
      const found = `something ended the process, with exit code ${code}, before the command was done`;
      process.exitCode = report(new MachineError(found));
    } else if (code === exitCodes.ok && output.isLost) process.exitCode = exitCodes.failed;
    isOver = true;
  });
  process.exitCode = await flame(words, async () => {
    restartWithHugePages();
    (await import("./schemas.ts")).writeNoCode();
    (await import("./screen/interrupt.ts")).leaveNoDrafts();
  });
  isOver = true;
}

/** Whoever reads may stop reading, as head does after a line, and a disk may be full: the work goes on without an audience. */
function watchOutput(): { readonly isLost: boolean } {
  const found = { isLost: false };
  const nobodyReads = ["EPIPE", "EIO"];
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (found.isLost || nobodyReads.includes(error.code ?? "")) return;
    found.isLost = true;
    process.stderr.write(`what is printed is lost from here on, and the work goes on: ${messageOf(error)}\n`);
  });
  // There is nobody left to tell.
  process.stderr.on("error", () => {});
  return found;
}
