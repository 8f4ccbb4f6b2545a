/** Other processes of this machine. */

/** Whether a process has this number; it need not be the one that once had it. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it runs, and belongs to someone else.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
