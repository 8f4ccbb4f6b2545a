/** Several models over one base: the parameters of each lie after those of the one before. */
import type { ParameterLayout, Range } from "./layout.ts";

/** @param layout of one member */
export function membersOf(layout: ParameterLayout, members: number): ParameterLayout {
  if (members === 1) return layout;
  const { size, groups, pairs } = layout;
  const all = Array.from({ length: members }, (_, member) => member);
  return {
    size: size * members,
    groups: all.flatMap((member) =>
      groups.map(({ name, ranges, ...group }) => ({
        ...group,
        name: `member ${member}, ${name}`,
        ranges: ranges.map((range) => moved(range, member * size)),
      })),
    ),
    pairs: all.flatMap((member) =>
      pairs.map((pair) => ({
        ...pair,
        group: pair.group + member * groups.length,
        a: pair.a + member * size,
        b: pair.b + member * size,
      })),
    ),
  };
}

const moved = ({ start, end }: Range, by: number): Range => ({ start: start + by, end: end + by });
