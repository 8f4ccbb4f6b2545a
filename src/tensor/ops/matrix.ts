/** Matrix products: plain and batched. Ragged ones are in `ragged.ts`. */
import { apply } from "../graph/graph.ts";
import type { Op, Tensor } from "../graph/ir.ts";
import { isRagged, type Shape, shapeError } from "../graph/shape.ts";
import { sumTo } from "./arithmetic.ts";
import { reshape } from "./layout.ts";

export interface MatmulOptions {
  /** Use the transpose of the last two axes of `a` or `b`. */
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  /** Factor on the product. */
  readonly alpha?: number;
}

type Flags = { readonly transposeA: boolean; readonly transposeB: boolean; readonly alpha: number };

function productShape(a: Shape, b: Shape, { transposeA, transposeB }: Flags): Shape {
  const isShared = a.length > b.length && b.length > 2 && !transposeA;
  const ok = b.length >= 2 && (a.length === b.length || isShared) && !isRagged(a) && !isRagged(b);
  const lead = a.slice(0, -2);
  const [m, inner] = transposeA ? [a.at(-1)!, a.at(-2)!] : [a.at(-2)!, a.at(-1)!];
  const [innerB, n] = transposeB ? [b.at(-1)!, b.at(-2)!] : [b.at(-2)!, b.at(-1)!];
  const shared = lead.slice(a.length - b.length);
  if (!ok || inner !== innerB || shared.some((dim, i) => dim !== b[i])) {
    const flags = `${transposeA ? "aᵀ" : "a"}·${transposeB ? "bᵀ" : "b"}`;
    throw shapeError("matmul", `matrices for ${flags} with equal leading axes`, a, b);
  }
  return [...lead, m, n];
}

const matmulOp: Op = {
  name: "matmul",
  infer: ([a, b], attributes) => [{ shape: productShape(a!.shape, b!.shape, attributes as Flags), dtype: "float32" }],
  backward(node, [g]) {
    const [a, b] = node.inputs as [Tensor, Tensor];
    const { transposeA, transposeB, alpha } = node.attributes as Flags;
    const ofB = transposeB
      ? matmul(g!, a, { transposeA: true, transposeB: transposeA, alpha })
      : matmul(a, g!, { transposeA: !transposeA, alpha });
    return [
      transposeA
        ? matmul(b, g!, { transposeA: transposeB, transposeB: true, alpha })
        : matmul(g!, b, { transposeB: !transposeB, alpha }),
      sumTo(ofB, b.shape),
    ];
  },
  onnx(emit, inputs, node) {
    const { transposeA, transposeB, alpha } = node.attributes as Flags;
    if (!transposeA && !transposeB && alpha === 1) return emit.node("MatMul", inputs);
    if (node.outputs[0]!.shape.length === 2) {
      return emit.node("Gemm", inputs, { transA: transposeA ? 1 : 0, transB: transposeB ? 1 : 0, alpha });
    }
    // Folds transposes of batched matrices, which Gemm cannot.
    const flags = { transA: transposeA ? 1 : 0, transB: transposeB ? 1 : 0, alpha };
    return emit.node("FusedMatMul", inputs, flags, 1, "com.microsoft");
  },
  tensorflow(emit, [a, b], node) {
    const { transposeA, transposeB, alpha } = node.attributes as Flags;
    const plain = node.outputs[0]!.shape.length === 2;
    const flags = plain
      ? { transpose_a: transposeA, transpose_b: transposeB }
      : { adj_x: transposeA, adj_y: transposeB };
    const operands = [emit.scaled(a!, alpha), b!];
    return emit.node(plain ? "MatMul" : "BatchMatMulV2", operands, { T: "float32", ...flags });
  },
  eager(run, node) {
    const { transposeA, transposeB, alpha } = node.attributes as Flags;
    const [a, b] = node.inputs.map((input) => run.get(input));
    run.set(node, run.tf.mul(run.tf.matMul(a!, b!, transposeA, transposeB), alpha));
  },
};

/** alpha · op(a) · op(b) over the last two axes. Leading axes are equal, or `b` lacks the first of them and is shared. */
export const matmul = (a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor => {
  const { transposeA = false, transposeB = false, alpha = 1 } = options;
  return apply(matmulOp, [a, b], { transposeA, transposeB, alpha });
};

/** The product of rows, client after client, with the matrix of all, or of each with its own, `[clients, inputs, outputs]`. */
export function perClient(rows: Tensor, weight: Tensor): Tensor {
  if (weight.shape.length === 2) return matmul(rows, weight);
  const [clients, inputs, outputs] = weight.shape as [number, number, number];
  const each = (rows.shape[0] as number) / clients;
  return reshape(matmul(reshape(rows, [clients, each, inputs]), weight), [clients * each, outputs]);
}

export const matrixOps: readonly Op[] = [matmulOp];
