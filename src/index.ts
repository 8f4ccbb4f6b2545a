/** What a scenario file may import: `import { defineScenario, flame, … } from "flame-sim"`. */
export { InputError, MachineError, ScenarioError } from "./base/errors.ts";
export { days, hours, megabits, megabytes, millis, minutes, seconds } from "./base/units.ts";
export { digits, images, pictures } from "./data/images/source.ts";
export { byCategory, byQuantity, contiguous, dirichlet, iid, type PartitionSpec, shards } from "./data/partition.ts";
export { file, instructions } from "./data/source.ts";
export { csv, table } from "./data/tables/source.ts";
export { compact, custom, headings, type PromptTemplate } from "./data/template.ts";
export type { ClientView, Plan } from "./fl/plan.ts";
export * from "./fl/policies/all.ts";
export type { Decision, PolicyFacts, PolicyView, RoundPolicy } from "./fl/policy.ts";
export type { Candidates, ClientSampler, History } from "./fl/sampler.ts";
export * from "./fl/samplers/all.ts";
export * from "./fl/strategies/all.ts";
export type { Strategy, StrategySampler } from "./fl/strategy.ts";
export type { Update } from "./fl/update.ts";
export { clipped } from "./fl/wrappers/clipped.ts";
export type { BudgetMetrics, RoundMetrics, TierMetrics } from "./records/metrics.ts";
export { type RunRecord, readRun } from "./report/run-folder.ts";
export type { RunResult } from "./run/result.ts";
export { loadRun, resume } from "./run/resume.ts";
export { type RunOptions, run } from "./run/run.ts";
export { type Calibration, calibrationFrom } from "./scenario/calibration.ts";
export { defineScenario, type Scenario, type ScenarioInput } from "./scenario/define.ts";
export {
  accuracyReaches,
  accuracyRises,
  type Expectation,
  everyExpertTrained,
  everyRoundAggregated,
  everyTierCounted,
  expectThat,
  type Findings,
  finishesWithin,
  lossFalls,
  participationAtLeast,
} from "./scenario/expect.ts";
export { availabilityFrom, devicesFrom } from "./scenario/recorded.ts";
export { flashLink } from "./sim/fleet/links.ts";
export { aiBenchmark, flashPhones } from "./sim/fleet/speed-laws.ts";
export { hazardLosing } from "./sim/flight/faults.ts";
export {
  bandwidth,
  crash,
  hook,
  outage,
  partition,
  type SimulatedWorld,
  serverRestart,
  setDropout,
  setMessageLoss,
  slowdown,
} from "./sim/script/effects.ts";
export { at, between, every, type TimelineEntry } from "./sim/script/timeline.ts";
export type { Cell, StoredCell } from "./study/cell.ts";
export type { Axes, Study } from "./study/matrix/planned.ts";
export { readStudy, type StudyCell, type StudyOptions, type StudyRecord, study } from "./study/study.ts";
export type { DataSource } from "./tasks/sources.ts";
export { spread } from "./tasks/spread.ts";
export type { Steps } from "./tasks/steps.ts";
export * as ops from "./tensor/ops/arithmetic.ts";
export { type Finding, type Promises, testStrategy } from "./testing/strategy.ts";
