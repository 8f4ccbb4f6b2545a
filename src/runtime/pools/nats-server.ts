/**
 * The connection to a NATS server with JetStream. The client is three packages that a plain install does without; they
 * are loaded here, once somebody asks for a server.
 */
import type { JetStreamClient, JetStreamManager } from "@nats-io/jetstream";
import type { ConnectionOptions, NatsConnection } from "@nats-io/transport-node";
import { InputError, MachineError, messageOf } from "../../base/errors.ts";
import { readText } from "../../base/text.ts";
import { formatBytes } from "../../base/units.ts";
import type { NatsAddress } from "./nats-address.ts";
import { ContentStore } from "./nats-store.ts";

export interface NatsServer {
  readonly url: string;
  readonly connection: NatsConnection;
  readonly jetstream: JetStreamClient;
  readonly manager: JetStreamManager;
  /** Bytes that a message may have beside its own envelope. */
  readonly largestContent: number;
  /** A name that no other run or worker has. */
  newName(): string;
  /** The store of a run; whoever coordinates the run makes it. */
  store(name: string, mode: "make" | "open"): Promise<ContentStore>;
}

const packages = ["@nats-io/transport-node", "@nats-io/jetstream", "@nats-io/obj"] as const;

/** What of a message is no content: names, digests, how long it took. */
const envelope = 2 ** 15;

/** @throws MachineError when the server cannot be used, with the reason */
export async function connectNats({ url, creds }: NatsAddress, name: string): Promise<NatsServer> {
  const { transport, jetstream, objects } = await loadClient();
  const { connect, nuid } = transport;
  const options: ConnectionOptions = {
    servers: url.split(","),
    name,
    // Workers and runs outlive a server that is started again.
    maxReconnectAttempts: -1,
    reconnectTimeWait: 500,
    pingInterval: 10_000,
    // A stack for each request, in case it fails.
    noAsyncTraces: true,
    ...(creds === undefined ? {} : { authenticator: authenticator(creds, transport) }),
  };
  const connection = await connect(options).catch((cause: unknown) => {
    const why =
      cause instanceof transport.errors.AuthorizationError ? "it refuses these credentials" : messageOf(cause);
    throw new MachineError(`cannot use the NATS server ${url}: ${why}`, { cause });
  });
  try {
    const most = connection.info!.max_payload;
    if (most < 2 * envelope) {
      throw new MachineError(
        `the NATS server ${url} takes messages of ${formatBytes(most)}, expected at least ${formatBytes(2 * envelope)}: max_payload`,
      );
    }
    const manager = await jetstream.jetstreamManager(connection).catch((cause: unknown) => {
      const why = (cause as Error).name === "JetStreamNotEnabled" ? "start it with -js" : messageOf(cause);
      throw new MachineError(`the NATS server ${url} offers no JetStream: ${why}`, { cause });
    });
    const client = manager.jetstream();
    const largestContent = most - envelope;
    return {
      url,
      connection,
      jetstream: client,
      manager,
      largestContent,
      newName: () => nuid.next(),
      async store(bucket, mode) {
        const all = new objects.Objm(client);
        const found = await (mode === "make"
          ? all.create(bucket, { storage: jetstream.StorageType.File })
          : all.open(bucket));
        return new ContentStore(found, largestContent);
      },
    };
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** Says when the connection is lost and when it is back, until it is closed. */
export async function noteInterruptions({ connection, url }: NatsServer, note: (text: string) => void): Promise<void> {
  for await (const { type } of connection.status()) {
    if (type === "disconnect") note(`the connection to ${url} is lost; it is tried again`);
    if (type === "reconnect") note(`the connection to ${url} is back`);
  }
}

async function loadClient() {
  try {
    const [transport, jetstream, objects] = await Promise.all([
      import("@nats-io/transport-node"),
      import("@nats-io/jetstream"),
      import("@nats-io/obj"),
    ]);
    return { transport, jetstream, objects };
  } catch (cause) {
    throw new MachineError(`NATS needs its client: npm install ${packages.join(" ")}`, { cause });
  }
}

function authenticator(
  file: string,
  {
    credsAuthenticator,
    nkeyAuthenticator,
  }: Pick<typeof import("@nats-io/transport-node"), "credsAuthenticator" | "nkeyAuthenticator">,
) {
  const text = readText(file, 2 ** 20);
  if (text.includes("BEGIN NATS USER JWT")) return credsAuthenticator(Buffer.from(text));
  const [seed] = /^SU[A-Z2-7]{56}$/m.exec(text) ?? [];
  if (seed === undefined) throw new InputError(`${file}: expected NATS credentials, or the seed of an NKey of a user`);
  return nkeyAuthenticator(Buffer.from(seed));
}
