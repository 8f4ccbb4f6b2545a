/** `testStrategy` finds what is wrong with a strategy: one for each check that breaks it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Plain } from "../../../src/fl/plan.ts";
import { fedadam, fedavg, mix, scaffold } from "../../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../../src/fl/strategy.ts";
import type { Steps } from "../../../src/tasks/steps.ts";
import { scale } from "../../../src/tensor/ops/arithmetic.ts";
import { type Promises, testStrategy } from "../../../src/testing/strategy.ts";

const plain: Strategy = fedavg();
const { plan: _plan, ...others } = { ...plain, name: "broken", spec: { type: "broken" } };
const variant = { topK: 1 };
let calls = 0;

const broken: readonly (readonly [check: RegExp, strategy: Partial<Strategy>, promises?: Promises])[] = [
  [/shuffled/, mix()],
  [/identical/, fedadam(), { reproducesFrom: 1 }],
  [/shares/, { weight: () => -1 }],
  [/shares/, { weight: () => Number.NaN }],
  [/shares/, { ...scaffold({ serverLearningRate: 0.5 }) }, { agreesFrom: 1 }],
  [/without updates/, { finish: (_sum, server) => ({ ...server, notes: (server.notes as number) + 1 }) }],
  [/nobody trained/, { finish: (_, server) => ({ ...server, parameters: server.parameters.map((x) => x + 0) }) }],
  [/bytes are/, { plan: () => ({ kind: { variant }, bytes: { up: 10 } }) }],
  [/bytes are/, { reply: () => ({ sent: { curvature: new Float64Array(288) } }) }],
  [/bytes are/, {}, { bytes: (size) => ({ down: 8 * size, up: 4 * size }) }],
  [/twice/, { plan: () => ({ kind: { variant }, notes: calls++ }) }],
  [
    /twice/,
    {
      fold: (sum, update, setting, at) => {
        plain.fold(sum, update, setting, at);
        update.values[0]! += 1;
      },
    },
  ],
  [/survives/, { plan: () => ({ kind: { variant }, notes: { when: new Date(0) } as unknown as Plain }) }],
  [/one program/, { steps: (): Steps => ({ gradient: (gradient) => scale(gradient, ++calls) }) }],
  [/one program/, { steps: (): Steps => ({ given: { pull: "scalar" } }) }],
  [/one program/, { plan: () => ({ kind: { variant }, inputs: { pull: 1 } }) }],
  [/discount of 0/, { fold: (sum, update, ...rest) => plain.fold(sum, { ...update, discount: 1 }, ...rest) }],
];

for (const [at, [check, pieces, promises]] of broken.entries()) {
  test(`a strategy that breaks ${check} is found out (${at})`, async () => {
    const findings = await testStrategy(() => ({ ...others, ...pieces }), promises, { realRound: false });
    const found = findings.find((finding) => check.test(finding.check))!;
    assert.notEqual(found.problem, null);
  });
}

test("a strategy that keeps its word has no problem", async () => {
  const findings = await testStrategy(() => fedavg(), { reproducesFrom: 1 }, { realRound: false });
  assert.deepEqual(
    findings.filter(({ problem }) => problem !== null),
    [],
  );
});
