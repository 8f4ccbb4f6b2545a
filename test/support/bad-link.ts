/** A network between a client and a server of the tests that is slow, cuts what passes into pieces, and fails. */
import { connect, createServer, type Socket } from "node:net";
import type { Draws } from "../../src/base/random.ts";

export interface BadLink {
  readonly port: number;
  /** Connections that it has ended. */
  readonly cuts: () => number;
  close(): void;
}

/** @param cut probability that a piece is the last of its connection */
export async function badLink(target: number, draws: Draws, cut: number): Promise<BadLink> {
  const open = new Set<Socket>();
  let cuts = 0;
  /** Pieces arrive in order, each a little later than the one before. */
  const pass = (from: Socket, to: Socket): void => {
    let last = Promise.resolve();
    from.on("data", (data: Buffer) => {
      for (let at = 0; at < data.length; ) {
        const piece = data.subarray(at, at + 1 + draws.below(4_000));
        at += piece.length;
        const delay = draws.below(3);
        const isLast = draws.bernoulli(cut);
        last = last.then(async () => {
          if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay));
          if (to.destroyed) return;
          to.write(piece);
          if (!isLast) return;
          cuts++;
          from.destroy();
          to.destroy();
        });
      }
    });
    from.on("error", () => to.destroy());
    from.on("close", () => to.destroy());
  };
  const server = createServer((client) => {
    const behind = connect(target, "127.0.0.1");
    for (const socket of [client, behind]) {
      open.add(socket);
      socket.on("close", () => open.delete(socket));
    }
    pass(client, behind);
    pass(behind, client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as { port: number }).port,
    cuts: () => cuts,
    close() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}
