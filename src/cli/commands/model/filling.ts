/** Work of minutes that fills a folder: with its progress on the screen, and with nothing left of it where it is stopped. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Draft, makeFolder, onDisk } from "../../../base/disk.ts";
import { awaitLock } from "../../../folder/lock.ts";
import { onInterrupt } from "../../screen/interrupt.ts";
import { ProgressLine } from "../../screen/progress-line.ts";
import { terminal } from "../../screen/terminal.ts";

/**
 * Makes the folder if it is not there, keeps others from filling it, and removes it again if it is empty afterwards.
 *
 * @param bytes that will be written
 */
export async function filling(to: string, bytes: number, fill: (work: Work) => Promise<void>): Promise<void> {
  const draft = new Draft();
  if (!existsSync(to)) draft.add(to, { ifEmpty: true });
  onDisk(`cannot write to ${to}`, () => makeFolder(to));
  try {
    const lock = await awaitLock(join(to, "lock"), (text) => void terminal.err.write(`${text}\n`));
    await fillHeld(to, bytes, fill).finally(() => lock.release());
  } finally {
    draft.remove();
  }
}

/** Of a folder that is ours. */
async function fillHeld(to: string, bytes: number, fill: (work: Work) => Promise<void>): Promise<void> {
  const progress = new ProgressLine("byte", bytes);
  const stop = new AbortController();
  const listening = await onInterrupt((exitCode) => stop.abort(exitCode));
  listening.leave({ words: `ended at once; ${to} holds no model` });
  try {
    const onWritten = (done: number) => {
      progress.update(done, "written");
      const exitCode = listening.exitCode();
      if (exitCode !== null) stop.abort(exitCode);
      stop.signal.throwIfAborted();
    };
    await fill({ signal: stop.signal, onWritten });
  } catch (error) {
    if (!stop.signal.aborted || error !== stop.signal.reason) throw error;
    terminal.err.write(`stopped; nothing is left in ${to}\n`);
    process.exitCode = stop.signal.reason as number;
  } finally {
    progress.close();
    listening.deafen();
  }
}

interface Work {
  /** Its reason is the exit code. */
  readonly signal: AbortSignal;
  /** Throws that reason: work that lets no event in is stopped by it. */
  readonly onWritten: (bytes: number) => void;
}
