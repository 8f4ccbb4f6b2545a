/** How the running second moment v of a server's optimizer takes up a squared change. Reddi et al., 2021. */
const rules = {
  adam: (v: number, square: number, beta2: number) => beta2 * v + (1 - beta2) * square,
  yogi: (v: number, square: number, beta2: number) => v - (1 - beta2) * square * Math.sign(v - square),
  adagrad: (v: number, square: number) => v + square,
};

export type SecondMoment = keyof typeof rules;

export const nextVariance = (rule: SecondMoment, v: number, square: number, beta2: number): number =>
  rules[rule](v, square, beta2);
