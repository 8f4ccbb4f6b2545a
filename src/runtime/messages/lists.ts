/** Lists that mostly stay empty or hold one thing: an array that grows from nothing makes room for 17. */

/** What {@link appended} begins with; nobody changes it. */
export const none: never[] = [];

/** The list with `item` at its end; `list` itself unless it was empty. */
export function appended<Item>(list: Item[], item: Item): Item[] {
  if (list.length === 0) return [item];
  list.push(item);
  return list;
}
