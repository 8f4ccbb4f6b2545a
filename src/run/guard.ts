/**
 * Code of a scenario's author that reads the clock or an unkeyed random number gives another run each time. While one of
 * its functions runs, the ways to do so that people take by mistake are refused at once, under the name of the field; what
 * else differs from run to run is found by running the scenario again and comparing bytes.
 */

import { ScenarioError } from "../base/errors.ts";
import { given } from "../base/given.ts";
import type { OwnParts, Scenario } from "../scenario/define.ts";

/** Where the author's function that is running stands in the scenario. */
let running: string | null = null;

type Method = (this: unknown, ...args: never[]) => unknown;

/** The same scenario, with every function of its author's under guard. */
export const guardScenario = ({ kind, data, own }: Scenario): Scenario => ({
  kind,
  data: guardFunctions(data, "") as Scenario["data"],
  own: guardParts(own),
});

/**
 * @internal
 * @param where names the function for its author: `world.timeline[3].effect.run`
 * @param mayWait whether it may return a promise; what it does after waiting is not under guard
 */
export function guarded<Own extends Method>(where: string, own: Own, mayWait = false): Own {
  install();
  return new Proxy(own, {
    apply(target, self, args) {
      const outer = running;
      running = where;
      try {
        const result: unknown = Reflect.apply(target, self, args);
        if (result instanceof Promise && !mayWait) {
          // What it ends with is nobody's answer any more.
          result.catch(() => {});
          throw new ScenarioError(`${where} returns a promise; expected its result at once`);
        }
        return result;
      } finally {
        running = outer;
      }
    },
  });
}

let isInstalled = false;

function install(): void {
  if (isInstalled) return;
  isInstalled = true;
  const differ = "no two runs would be the same";
  const clock = "virtual time, such as sim.now in a hook or view.now in a policy";
  const chance = "the draws that the function is given, such as sim.draws in a hook";
  Math.random = refusing(Math.random, `calls Math.random: ${differ}`, chance);
  performance.now = refusing(performance.now.bind(performance), `reads the clock (performance.now): ${differ}`, clock);
  Date.now = refusing(Date.now, `reads the clock (Date.now): ${differ}`, clock);
  globalThis.Date = refusing(Date, `reads the clock (new Date()): ${differ}`, clock);
  process.exit = refusing(process.exit, "calls process.exit", "an error that it throws: that ends the run");
  process.chdir = refusing(process.chdir, "calls process.chdir", "whole paths");
}

/** The function itself, unless the author's code calls it; a constructor, unless that is without arguments. */
const refusing = <Call extends Method | DateConstructor>(call: Call, what: string, instead: string): Call => {
  const refuse = (): void => {
    if (running === null) return;
    throw new ScenarioError(`${running} ${what}. Expected ${instead}`);
  };
  return new Proxy(call, {
    apply(target, self, args) {
      refuse();
      return Reflect.apply(target as Method, self, args as never[]);
    },
    construct(target, args, newTarget) {
      if (args.length === 0) refuse();
      return Reflect.construct(target, args, newTarget) as object;
    },
  });
};

function guardFunctions(value: unknown, path: string): unknown {
  if (typeof value === "function") return guarded(path, value as Method);
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  const isList = Array.isArray(value);
  const fields = Object.entries(value).map(([key, field]: [string, unknown]) => {
    const at = isList ? `${path}[${key}]` : path === "" ? key : `${path}.${key}`;
    return { key, field, guarded: guardFunctions(field, at) };
  });
  // Most have none, and some are long lists of numbers.
  if (fields.every(({ field, guarded }) => field === guarded)) return value;
  return isList
    ? fields.map(({ guarded }) => guarded)
    : Object.fromEntries(fields.map(({ key, guarded }) => [key, guarded]));
}

const guardParts = ({ strategy, policy, sampler, expect }: OwnParts): OwnParts => ({
  ...given({
    strategy: guardMethods(strategy, "strategy"),
    policy: guardMethods(policy, "rounds.policy"),
    sampler: guardMethods(sampler, "rounds.sampler"),
  }),
  expect: expect.map((claim) => ({ ...claim, check: guarded(`expect "${claim.claim}"`, claim.check) })),
});

/** Works for objects of a class, too, whose methods are not their own. */
const guardMethods = <Part extends object>(part: Part | undefined, where: string): Part | undefined =>
  part &&
  new Proxy(part, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== "function") return value;
      // It waits for what workers find.
      return guarded(`${where}.${String(key)}`, value.bind(target) as Method, key === "finish");
    },
  });
