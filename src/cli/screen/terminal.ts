/** Where the command line writes. Tests put something else in its place. */
export interface Terminal {
  out: Pick<NodeJS.WriteStream, "write" | "isTTY">;
  err: Pick<NodeJS.WriteStream, "write">;
}

export const terminal: Terminal = { out: process.stdout, err: process.stderr };
