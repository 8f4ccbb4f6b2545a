/** LoRA-FAIR against numbers worked out by other means. Parameters are float32, hence 1e-6 where a rule passes through them. */
import { test } from "node:test";
import { addProduct, emptySum, matrixOf } from "../../src/fl/low-rank/products.ts";
import { cosineLoss, residualsOf } from "../../src/fl/low-rank/residual.ts";
import { loraFair } from "../../src/fl/strategies/ranks/lora-fair.ts";
import { byRows, factorsIn, layoutOfPairs, product, rankedSetting, sentBy, setFactors } from "../support/low-rank.ts";
import { close, goldensOf, type Json } from "../support/method-goldens.ts";
import { aggregate, serverOf } from "../support/quadratic.ts";

const caseOf = goldensOf("lora-fair");

function fairCase(title: string) {
  const { inputs, expected } = caseOf("lora-fair", title);
  const { n, B, A } = inputs;
  const layout = layoutOfPairs([{ outputs: B[0].length, inputs: A[0][0].length }], A[0].length);
  const [pair] = layout.pairs as [(typeof layout.pairs)[0]];
  const factors: Float64Array[] = n.map((_: number, client: number) => {
    const values = new Float64Array(layout.size);
    setFactors(values, pair, B[client], A[client]);
    return values;
  });
  const weight = n.reduce((sum: number, own: number) => sum + own, 0);
  const target = emptySum(pair);
  for (const [client, values] of factors.entries()) addProduct(target, values, pair, n[client]);
  const mean = factors[0]!.map((_, i) => factors.reduce((sum, values, at) => sum + (n[at] / weight) * values[i]!, 0));
  const a = factorsIn(mean, pair).A.map((row) => Float64Array.from(row));
  const b = mean.slice(pair.b);
  return { inputs, expected, layout, pair, factors, n, problem: { target, weight, a, b }, mean };
}
const fairDefaults = { solver: "l2-closed", lambda: 0.01, steps: 1000, rate: 0.01 } as const;

test("LoRA-FAIR: averages, the closed form at four strengths, and the cosine's gradient and descent", async () => {
  const averages = fairCase("averages");
  const { A, B } = factorsIn(averages.mean, averages.pair);
  close(A.flat(), averages.expected.A.flat(), 1e-12);
  close(B.flat(), averages.expected.B.flat(), 1e-12);
  const wanted = averages.expected.target.flat() as number[];
  close(
    byRows(matrixOf(averages.problem.target), averages.pair).map((value) => value / averages.problem.weight),
    wanted,
    1e-12,
  );
  const missed = (corrected: readonly number[]) => Math.hypot(...wanted.map((value, i) => value - corrected[i]!));
  close([missed(product(B, A).flat())], averages.expected.errorBefore, 1e-12);
  const closed = fairCase("l2-closed");
  for (const { relative, E, normE, error } of closed.expected.solutions) {
    const [residual] = residualsOf({
      problems: [closed.problem],
      options: { ...fairDefaults, lambda: relative },
    }) as [Float64Array];
    close(residual, E.flat(), 1e-9);
    close([Math.hypot(...residual)], normE, 1e-9);
    const corrected = B.map((row, i) => row.map((value, q) => value + residual[i * row.length + q]!));
    close([missed(product(corrected, A).flat())], error, 1e-9);
  }
  const gradient = fairCase("cosine gradient");
  const { a, b } = gradient.problem;
  const gram = a.map((row) => Float64Array.from(a, (other) => row.reduce((sum, x, i) => sum + x * other[i]!, 0)));
  const moment = Float64Array.from(
    gradient.expected.gradient.flatMap((_: unknown, row: number) =>
      a.map((vector) => vector.reduce((sum, x, i) => sum + x * wanted[row * vector.length + i]!, 0)),
    ),
  );
  const start = Float64Array.from(gradient.inputs.E.flat());
  const length = Math.hypot(...wanted);
  const lossAt = (residual: Float64Array, lambda: number, slope = new Float64Array(residual.length)) =>
    cosineLoss(gram, moment, length, b, residual, lambda, slope)!;
  const slope = new Float64Array(start.length);
  close([lossAt(start, gradient.inputs.lam, slope)], gradient.expected.loss, 1e-9);
  close(slope, gradient.expected.gradient.flat(), 1e-9);
  for (const i of start.keys()) {
    const moved = (by: number) => lossAt(start.with(i, start[i]! + by), gradient.inputs.lam);
    // Central differences of 1e-5 are exact to about 1e-10.
    close([(moved(1e-5) - moved(-1e-5)) / 2e-5], [slope[i]!], 1e-8);
  }
  const descent = fairCase("cosine-sgd");
  for (const [steps, { E, loss }] of Object.entries<Json>(descent.expected.afterSteps)) {
    const options = {
      solver: "cosine-sgd",
      lambda: descent.inputs.lam,
      steps: Number(steps),
      rate: descent.inputs.step,
    } as const;
    const [residual] = residualsOf({ problems: [descent.problem], options }) as [Float64Array];
    close(residual, E.flat(), 1e-9);
    close([lossAt(residual, descent.inputs.lam)], loss, 1e-9);
  }
  // The strategy puts them together.
  const { layout, pair, factors, n } = closed;
  const setting = rankedSetting(layout, [pair.rank]);
  for (const { relative, E } of closed.expected.solutions) {
    const strategy = loraFair({ solver: "l2-closed", lambda: relative });
    const updates = factors.map((values, client) =>
      sentBy(strategy, client, pair.rank, values, setting, { examples: n[client] }),
    );
    const server = serverOf(strategy, new Float32Array(layout.size), setting);
    const { parameters } = await aggregate(strategy, server, updates, setting);
    const found = factorsIn(parameters, pair);
    close(found.A.flat(), A.flat());
    close(
      found.B.flat(),
      B.flat().map((value, i) => value + E.flat()[i]),
      // Ā passes through float32 before E is worked out, and λ = 0 divides by its smallest eigenvalue.
      1e-5,
    );
  }
});
