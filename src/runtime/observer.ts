/**
 * For those who watch a run without being part of it: live displays, timelines, statistics. An onlooker never changes
 * a run: what it is given has been written down before, and what it throws is noted and otherwise ignored.
 */
import { EventEmitter } from "eventemitter3";
import { messageOf } from "../base/errors.ts";
import type { Millis } from "../base/units.ts";
import type { TraceRow } from "../sim/kernel/trace.ts";
import type { ActorEvent } from "./actor.ts";
import type { Ref } from "./messages/refs.ts";
import { remember } from "./pools/pool.ts";

/** The rows are those of the trace; `event-log.ts` says what is in them. */
export interface RuntimeEvents {
  sent: (row: TraceRow) => void;
  delivered: (row: TraceRow) => void;
  turn: (row: TraceRow) => void;
  lost: (row: TraceRow) => void;
  corrupted: (row: TraceRow) => void;
  /** What an actor emitted: the thing itself, which nobody changes. */
  event: (event: ActorEvent, actor: Ref, at: Millis) => void;
}

type Name = keyof RuntimeEvents;
type Listener = (first?: unknown, second?: unknown, third?: unknown) => void;
export type RowEvent = Exclude<Name, "event">;

export class Observer {
  readonly #emitter = new EventEmitter<Record<Name, Listener>>();
  readonly #problems: string[] = [];
  /** Asked for every row. */
  #hearsRows = false;

  /** What onlookers threw, in words; at most 100 lines. */
  get problems(): readonly string[] {
    return this.#problems;
  }

  /** @returns the function that ends the observation */
  on<Event extends Name>(event: Event, onlooker: RuntimeEvents[Event]): () => void {
    const safely: Listener = (first, second, third) => {
      try {
        const outcome: unknown = (onlooker as (...details: unknown[]) => unknown)(first, second, third);
        if (outcome instanceof Promise) outcome.catch((error: unknown) => this.#note(event, error));
      } catch (error) {
        this.#note(event, error);
      }
    };
    this.#emitter.on(event, safely);
    this.#lookRound();
    return () => {
      this.#emitter.off(event, safely);
      this.#lookRound();
    };
  }

  /** Whether anybody is told of rows. */
  get hearsRows(): boolean {
    return this.#hearsRows;
  }

  /** Tells of a row of the event log. */
  row(event: RowEvent, row: TraceRow): void {
    this.#emitter.emit(event, row);
  }

  /** Tells of what an actor emitted. */
  event(event: ActorEvent, actor: Ref, at: Millis): void {
    this.#emitter.emit("event", event, actor, at);
  }

  #lookRound(): void {
    this.#hearsRows = this.#emitter.eventNames().some((event) => event !== "event");
  }

  #note(event: Name, error: unknown): void {
    remember(this.#problems, `an onlooker of "${event}" failed: ${messageOf(error)}`);
  }
}
