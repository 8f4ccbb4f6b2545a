/** Where a NATS server is. On its own: published types name it, and a plain install has no NATS. */
export interface NatsAddress {
  /** `nats://host:4222`, `tls://host:4222`; several with commas between them. */
  readonly url: string;
  /** A file of credentials, a JWT with its NKey, or of an NKey's seed alone. */
  readonly creds?: string;
}
