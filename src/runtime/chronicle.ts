/**
 * What a system tells of itself, in rows of the trace, which onlookers see too. n is the envelope's sequence number:
 *
 *   sent       n, from, to, message, bytes
 *   delivered  n, to: only where the turn does not end at the same instant
 *   turn       n, actor, message
 *   lost       n, from, to, message, phase, reason; with phase `training` it was the turn that was cut off
 *   corrupted  n, from, to, message
 *   unheard    n, to, message: the receiver had stopped
 *   stopped    actor, reason: `itself`, or `crashes`
 */
import type { Millis } from "../base/units.ts";
import type { Loss } from "../sim/environment.ts";
import { RowShape, type Trace } from "../sim/trace.ts";
import type { Envelope } from "./envelope.ts";
import type { Observer, RowEvent } from "./observer.ts";

const shapes = {
  sent: new RowShape("sent", "n", "from", "to", "message", "bytes"),
  delivered: new RowShape("delivered", "n", "to"),
  turn: new RowShape("turn", "n", "actor", "message"),
  lost: new RowShape("lost", "n", "from", "to", "message", "phase", "reason"),
  corrupted: new RowShape("corrupted", "n", "from", "to", "message"),
  unheard: new RowShape("unheard", "n", "to", "message"),
  stopped: new RowShape("stopped", "actor", "reason"),
} satisfies Record<RowEvent, RowShape>;

export class Chronicle {
  readonly #trace: Trace;
  readonly #observer: Observer;

  constructor(trace: Trace, observer: Observer) {
    this.#trace = trace;
    this.#observer = observer;
  }

  sent({ sentAt, sequence, message, bytes }: Envelope, from: string, to: string): void {
    this.#trace.begin(shapes.sent, sentAt).number(sequence).text(from).text(to).text(message.type).number(bytes);
    this.#end("sent");
  }

  delivered(t: Millis, { sequence }: Envelope, to: string): void {
    this.#trace.begin(shapes.delivered, t).number(sequence).text(to);
    this.#end("delivered");
  }

  turn(t: Millis, { sequence, message }: Envelope, actor: string): void {
    this.#trace.begin(shapes.turn, t).number(sequence).text(actor).text(message.type);
    this.#end("turn");
  }

  lost(t: Millis, { sequence, message }: Envelope, from: string, to: string, { phase, reason }: Loss): void {
    const row = this.#trace.begin(shapes.lost, t).number(sequence).text(from).text(to);
    row.text(message.type).text(phase).text(reason);
    this.#end("lost");
  }

  corrupted(t: Millis, { sequence, message }: Envelope, from: string, to: string): void {
    this.#trace.begin(shapes.corrupted, t).number(sequence).text(from).text(to).text(message.type);
    this.#end("corrupted");
  }

  unheard(t: Millis, { sequence, message }: Envelope, to: string): void {
    this.#trace.begin(shapes.unheard, t).number(sequence).text(to).text(message.type);
    this.#end("unheard");
  }

  stopped(t: Millis, actor: string, reason: "itself" | "crashes"): void {
    this.#trace.begin(shapes.stopped, t).text(actor).text(reason);
    this.#end("stopped");
  }

  /** Onlookers are given the row as it was written; where there are none, no object is made. */
  #end(event: RowEvent): void {
    const row = this.#observer.hears(event) ? this.#trace.current() : null;
    this.#trace.end();
    if (row !== null) this.#observer.row(event, row);
  }
}
