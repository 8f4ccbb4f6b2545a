/**
 * What a system tells of itself, in rows of the trace, which onlookers see too. n is the envelope's sequence number:
 *
 *   sent       n, from, to, message, bytes
 *   delivered  n, to: only where the turn does not end at the same instant
 *   turn       n, actor, message
 *   lost       n, from, to, message, phase, reason; with phase `training` it was the turn that was cut off
 *   corrupted  n, from, to, message
 */
import type { Millis } from "../base/units.ts";
import type { Loss } from "../sim/flight/environment.ts";
import { Piece, type RowBytes, RowShape, type Trace } from "../sim/kernel/trace.ts";
import type { Envelope } from "./messages/envelope.ts";
import type { Ref } from "./messages/refs.ts";
import type { Observer, RowEvent } from "./observer.ts";
import type { Registry } from "./registry.ts";

const shapes = {
  sent: new RowShape("sent", "n", "from", "to", "message", "bytes"),
  delivered: new RowShape("delivered", "n", "to"),
  turn: new RowShape("turn", "n", "actor", "message"),
  lost: new RowShape("lost", "n", "from", "to", "message", "phase", "reason"),
  corrupted: new RowShape("corrupted", "n", "from", "to", "message"),
} satisfies Record<RowEvent, RowShape>;

/** Names are written without being made: a device's is a prefix and its number, the first of another kind its kind. */
interface NameOfKind {
  readonly kind: string;
  readonly isDevice: boolean;
  readonly piece: Piece;
}

export class EventLog {
  readonly #trace: Trace;
  readonly #observer: Observer;
  readonly #registry: Registry;
  /** Few kinds, found faster by looking at each than by a hash. */
  readonly #names: readonly NameOfKind[];

  constructor(trace: Trace, observer: Observer, registry: Registry) {
    this.#trace = trace;
    this.#observer = observer;
    this.#registry = registry;
    this.#names = [...registry.kinds()].map(({ definition: { kind }, isDevice }) => ({
      kind,
      isDevice,
      piece: new Piece(isDevice ? `"${kind}/c-` : JSON.stringify(kind)),
    }));
  }

  sent({ sentAt, sequence, from, to, type, bytes }: Envelope): void {
    const row = this.#trace.begin(shapes.sent, sentAt).number(sequence);
    this.#name(row, from);
    this.#name(row, to);
    row.word(type).number(bytes);
    this.#end("sent");
  }

  delivered(t: Millis, { sequence, to }: Envelope): void {
    this.#name(this.#trace.begin(shapes.delivered, t).number(sequence), to);
    this.#end("delivered");
  }

  turn(t: Millis, { sequence, to, type }: Envelope): void {
    this.#name(this.#trace.begin(shapes.turn, t).number(sequence), to).word(type);
    this.#end("turn");
  }

  lost(t: Millis, { sequence, from, to, type }: Envelope, { phase, reason }: Loss): void {
    const row = this.#trace.begin(shapes.lost, t).number(sequence);
    this.#name(row, from);
    this.#name(row, to);
    row.word(type).word(phase).word(reason);
    this.#end("lost");
  }

  corrupted(t: Millis, { sequence, from, to, type }: Envelope): void {
    const row = this.#trace.begin(shapes.corrupted, t).number(sequence);
    this.#name(row, from);
    this.#name(row, to);
    row.word(type);
    this.#end("corrupted");
  }

  #name(row: RowBytes, actor: Ref): RowBytes {
    for (const { kind, isDevice, piece } of this.#names) {
      if (kind !== actor.kind) continue;
      if (isDevice) return row.numbered(piece, actor.id);
      if (actor.id === 0) return row.piece(piece);
    }
    return row.text(this.#registry.nameOf(actor));
  }

  /** Onlookers are given the row as it was written; where there are none, no object is made. */
  #end(event: RowEvent): void {
    const row = this.#observer.hearsRows ? this.#trace.current() : null;
    this.#trace.end();
    if (row !== null) this.#observer.row(event, row);
  }
}
