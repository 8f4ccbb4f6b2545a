/** Trying again: a server may be on its way back, and a full one may be emptied. */
import { mostAttempts } from "./nats-wire.ts";

/** Tries until it works, until `isOver` says so, or until the server has said no too often. */
export async function insist<Value>(action: () => Promise<Value>, isOver: () => boolean): Promise<Value> {
  for (let refusals = 0; ; ) {
    try {
      return await action();
    } catch (error) {
      if (isOver() || (isRefusal(error) && ++refusals >= mostAttempts)) throw error;
      await delay(300);
    }
  }
}

const unavailable = 10008;

/** Whether the server has said no, as one that is full; one that is being started, or elects a leader, has not. */
export function isRefusal(error: unknown): error is Error {
  const { name, code } = error as { readonly name?: string; readonly code?: number };
  return name === "JetStreamApiError" && code !== unavailable;
}

export const delay = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));
