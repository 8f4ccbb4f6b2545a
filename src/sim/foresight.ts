/** What will happen next to something under way, if nothing disturbs it. */
import type { Millis } from "../base/units.ts";
import { cutAt } from "./flight/faults.ts";
import { type Flight, farAhead } from "./flight/flight.ts";
import type { Presence } from "./presence.ts";
import type { Conditions } from "./script/conditions.ts";

/**
 * Sets the flight's next step. The flight must be settled and have the rate that is right now.
 *
 * @returns when, in fractions of a millisecond; Infinity while it waits for an effect to end or for its shared link
 */
export function foresee(flight: Flight, now: Millis, presence: Presence, conditions: Conditions): number {
  const left = flight.stopAt - flight.done;
  const tail = flight.stopReason === "" ? flight.tail : 0;
  let time = Infinity;
  flight.step = "end";
  if (left <= 0) time = flight.since + tail;
  else {
    if (!flight.isShared && flight.rate > 0) time = flight.since + left / flight.rate + tail;
    if (presence.pauses) {
      const turn = presence.nextTurn(flight.client, now);
      if (turn < time) {
        time = turn;
        flight.step = "turn";
      } else if (presence.isGone(flight.client, now)) cutAt(flight, now, "unavailable");
    }
    if (flight.rate === 0 && !conditions.isCalm) {
      const reason = conditions.stopsForEver(flight.client, flight.is !== "work");
      if (reason !== undefined) cutAt(flight, now, reason);
    }
  }
  if (flight.cutAt < time) {
    time = flight.cutAt;
    flight.step = "cut";
  }
  if (time === Infinity) return time;
  // The link itself says when a flight is through; by then at the latest it is looked at again.
  const through = flight.isShared && flight.rate > 0 && left > 0 ? now + Math.max(1, left / flight.rate) : Infinity;
  const horizon = Math.min(through, now + farAhead);
  if (time <= horizon) return time;
  flight.step = "look";
  return horizon;
}
