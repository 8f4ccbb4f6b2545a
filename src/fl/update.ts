/** What a client sends after local training, as the server sees it once it has opened the blob. */
import type { ClientId, ParticipationId, Round } from "../base/ids.ts";

export interface Update {
  readonly client: ClientId;
  readonly participation: ParticipationId;
  /** The model version the client started from. */
  readonly round: Round;
  /** Experts per token in local training, k_i. */
  readonly topK: number;
  /** |D_i|: training examples of the client. */
  readonly examples: number;
  /** The trained adapter, and the one it started from; their difference is the delta. Layout: `model/adapter.ts`. */
  readonly values: Float32Array;
  readonly base: Float32Array;
  /** s_i, one per layer. Stays with the client unless the strategy's scope says otherwise. */
  readonly rescaler: Float32Array;
  /** a_i: non-padding tokens routed to each expert during training, `[layers · experts]`. */
  readonly activations: Uint32Array;
  /** S_i: non-padding tokens seen. */
  readonly tokens: number;
  /** Mean training loss per response token of the first and of all local steps, in nats. */
  readonly firstLoss: number;
  readonly meanLoss: number;
  /** What the round policy adds to the weight, e.g. for staleness; 1 for a fresh update. */
  readonly discount: number;
}
