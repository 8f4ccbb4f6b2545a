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
import type { Trace, TraceRow } from "../sim/trace.ts";
import type { Envelope } from "./envelope.ts";
import type { Observer, RowEvent } from "./observer.ts";

export class Chronicle {
  readonly #trace: Trace;
  readonly #observer: Observer;

  constructor(trace: Trace, observer: Observer) {
    this.#trace = trace;
    this.#observer = observer;
  }

  sent({ sentAt, sequence, message, bytes }: Envelope, from: string, to: string): void {
    this.#tell("sent", { t: sentAt, type: "sent", n: sequence, from, to, message: message.type, bytes });
  }

  delivered(t: Millis, { sequence }: Envelope, to: string): void {
    this.#tell("delivered", { t, type: "delivered", n: sequence, to });
  }

  turn(t: Millis, { sequence, message }: Envelope, actor: string): void {
    this.#tell("turn", { t, type: "turn", n: sequence, actor, message: message.type });
  }

  lost(t: Millis, { sequence, message }: Envelope, from: string, to: string, { phase, reason }: Loss): void {
    this.#tell("lost", { t, type: "lost", n: sequence, from, to, message: message.type, phase, reason });
  }

  corrupted(t: Millis, { sequence, message }: Envelope, from: string, to: string): void {
    this.#tell("corrupted", { t, type: "corrupted", n: sequence, from, to, message: message.type });
  }

  unheard(t: Millis, { sequence, message }: Envelope, to: string): void {
    this.#tell("unheard", { t, type: "unheard", n: sequence, to, message: message.type });
  }

  stopped(t: Millis, actor: string, reason: "itself" | "crashes"): void {
    this.#tell("stopped", { t, type: "stopped", actor, reason });
  }

  #tell(event: RowEvent, row: TraceRow): void {
    this.#trace.record(row);
    this.#observer.row(event, row);
  }
}
