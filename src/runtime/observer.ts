/**
 * For those who watch a run without being part of it: live displays, timelines, statistics. An onlooker never changes
 * a run: what it is given has been written down before, and what it throws is noted and otherwise ignored.
 */
import { EventEmitter } from "eventemitter3";
import { messageOf } from "../base/errors.ts";
import type { Millis } from "../base/units.ts";
import type { TraceRow } from "../sim/kernel/trace.ts";
import type { ActorEvent } from "./actor.ts";
import { remember } from "./pools/pool.ts";

/** The rows are those of the trace; `chronicle.ts` says what is in them. */
export interface RuntimeEvents {
  sent: (row: TraceRow) => void;
  delivered: (row: TraceRow) => void;
  turn: (row: TraceRow) => void;
  lost: (row: TraceRow) => void;
  corrupted: (row: TraceRow) => void;
  unheard: (row: TraceRow) => void;
  stopped: (row: TraceRow) => void;
  /** What an actor emitted: the thing itself, which nobody changes. */
  event: (event: ActorEvent, actor: string, at: Millis) => void;
}

type Name = keyof RuntimeEvents;
type Listener = (first?: unknown, second?: unknown, third?: unknown) => void;
export type RowEvent = Exclude<Name, "event">;

export class Observer {
  readonly #emitter = new EventEmitter<Record<Name, Listener>>();
  /** Of what actors emit, which comes at every event: a list is gone through faster than an emitter's. */
  #listeners: readonly Listener[] = [];
  readonly #problems: string[] = [];
  #rowOnlookers = 0;

  /** What onlookers threw, in words; at most 100 lines. */
  get problems(): readonly string[] {
    return this.#problems;
  }

  /** @returns the function that ends the observation */
  on<Event extends Name>(event: Event, onlooker: RuntimeEvents[Event]): () => void {
    // Three arguments are the most that any event has; spreading them would make a list at every event.
    const safely = (first?: unknown, second?: unknown, third?: unknown): void => {
      try {
        const outcome: unknown = (onlooker as (...details: unknown[]) => unknown)(first, second, third);
        if (outcome instanceof Promise) outcome.catch((error: unknown) => this.#note(event, error));
      } catch (error) {
        this.#note(event, error);
      }
    };
    const rows = event === "event" ? 0 : 1;
    if (rows === 0) this.#listeners = [...this.#listeners, safely];
    else this.#emitter.on(event, safely);
    this.#rowOnlookers += rows;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      if (rows === 0) this.#listeners = this.#listeners.filter((other) => other !== safely);
      else this.#emitter.off(event, safely);
      this.#rowOnlookers -= rows;
    };
  }

  /** Does anybody want to see rows? */
  get hearsRows(): boolean {
    return this.#rowOnlookers > 0;
  }

  /** Tells of a row of the trace. */
  row(event: RowEvent, row: TraceRow): void {
    this.#emitter.emit(event, row);
  }

  /** Tells of what an actor emitted. */
  event(event: ActorEvent, actor: string, at: Millis): void {
    const listeners = this.#listeners;
    for (let i = 0; i < listeners.length; i++) listeners[i]!(event, actor, at);
  }

  #note(event: Name, error: unknown): void {
    remember(this.#problems, `an onlooker of "${event}" failed: ${messageOf(error)}`);
  }
}
