/**
 * Invitations without an answer: a list, and where each stands in it. One that is answered leaves its place to the last, so
 * the list has no order: to keep one would move half a list of thousands at every update, for the garbage collector to follow.
 *
 * Places follow from the list: for one that was restored or made anew they are worked out when first asked for. Nobody else
 * adds to a list or takes from it.
 */
import type { ParticipationId } from "../src/base/ids.ts";
import { NumberMap } from "../src/base/number-map.ts";
import type { Invitation } from "./server-state.ts";

const places = new WeakMap<readonly Invitation[], NumberMap<number>>();

export function addTo(outstanding: Invitation[], invitation: Invitation): void {
  placesIn(outstanding).set(invitation.participation, outstanding.length);
  outstanding.push(invitation);
}

/** Undefined if no such invitation is out. */
export function invitationOf(outstanding: readonly Invitation[], participation: ParticipationId) {
  const place = placesIn(outstanding).get(participation);
  return place === undefined ? undefined : outstanding[place];
}

/** Takes an invitation out of the list. @returns null if no such invitation is out */
export function takeFrom(outstanding: Invitation[], participation: ParticipationId): Invitation | null {
  const known = placesIn(outstanding);
  const place = known.take(participation);
  if (place === undefined) return null;
  const found = outstanding[place]!;
  const last = outstanding.pop()!;
  if (last !== found) {
    outstanding[place] = last;
    known.set(last.participation, place);
  }
  return found;
}

/** In the order in which they were sent. */
export const inOrder = (outstanding: readonly Invitation[]): Invitation[] =>
  outstanding.toSorted((a, b) => a.participation - b.participation);

function placesIn(outstanding: readonly Invitation[]): NumberMap<number> {
  let known = places.get(outstanding);
  if (known === undefined) {
    known = new NumberMap(outstanding.map(({ participation }, place) => [participation, place]));
    places.set(outstanding, known);
  }
  return known;
}
