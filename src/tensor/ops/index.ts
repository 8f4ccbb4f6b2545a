/** Every operation by its name, which is all that an encoded program says of it. */
import { invariant } from "../../base/errors.ts";
import { leafOps } from "../graph/graph.ts";
import type { Op } from "../graph/ir.ts";
import { arithmeticOps } from "./arithmetic.ts";
import { discreteOps } from "./discrete.ts";
import { imageOps } from "./images.ts";
import { indexOps } from "./index-ops.ts";
import { layoutOps } from "./layout.ts";
import { matrixOps } from "./matrix.ts";
import { factorOps } from "./merge-factors.ts";
import { networkOps } from "./nn.ts";
import { paddedOps } from "./padded.ts";
import { raggedOps } from "./ragged.ts";

const all = [
  ...leafOps,
  ...arithmeticOps,
  ...discreteOps,
  ...imageOps,
  ...indexOps,
  ...layoutOps,
  ...matrixOps,
  ...factorOps,
  ...networkOps,
  ...paddedOps,
  ...raggedOps,
];

export const opsByName: ReadonlyMap<string, Op> = new Map(all.map((op) => [op.name, op]));
invariant(opsByName.size === all.length, "two operations have one name");
