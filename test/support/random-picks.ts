/** What the steps of random programs choose operands and options with. */
import type { Tensor } from "../../src/tensor/graph/ir.ts";
import type { Growth } from "./random-programs.ts";

export function pick(growth: Growth, number: number, fits: (tensor: Tensor) => boolean): Tensor | undefined {
  const fitting = growth.pool.filter(fits);
  return fitting[number % fitting.length];
}

export const any = () => true;
export const isStatic = ({ shape }: Tensor): boolean => shape.every((dim) => typeof dim === "number");
export const isMatrix = ({ shape }: Tensor): boolean => shape.length >= 2;
export const last = ({ shape }: Tensor): number | undefined => {
  const size = shape.at(-1);
  return typeof size === "number" ? size : undefined;
};
/** What has no derivative may only follow on inputs that need none. */
export const mayJump =
  (growth: Growth) =>
  (tensor: Tensor): boolean =>
    !growth.smooth || !growth.depends(tensor);

export const bitsOf = (number: number): [boolean, boolean, boolean] => [
  (number & 1) > 0,
  (number & 2) > 0,
  (number & 4) > 0,
];
export const alphaOf = (number: number): number => [1, 0.5, -0.75][number % 3]!;
