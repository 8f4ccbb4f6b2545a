/**
 * A run folder may name code to be executed: the file of a scenario with functions of its author's. Who wrote the folder
 * is unknown, so the file runs only when the user has run these very bytes here before, names a file, or agrees to this
 * one by its digest. A scenario that is all data needs none of it.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { InputError, ScenarioError } from "../base/errors.ts";
import { printable } from "../base/text.ts";
import type { Reload } from "../run/resume.ts";
import { ownCodeDigest } from "../scenario/own-code.ts";
import { reload } from "./load-scenario.ts";
import { isTrustedCode, trustCode } from "./trusted-code.ts";

export interface Consent {
  /** `--scenario`: the file to run, whatever the run folder names. */
  readonly scenario?: string;
  /** `--trust-code`: the beginning of the digest of the code that may run. */
  readonly trustCode?: string;
  /** Asks the user; left out where nobody can answer. */
  readonly ask?: (question: string) => Promise<boolean>;
}

/** Fewer digits could be met by trying out files. */
const leastDigits = 12;

/** Loads the scenario of a run from its file, once there is consent. @throws ScenarioError without; nothing has run then */
export const reloadWith =
  (consent: Consent): Reload =>
  async (stored) => {
    const { folder, source } = stored;
    const file = consent.scenario === undefined ? source.file : resolve(consent.scenario);
    const shown = printable(file);
    if (!existsSync(file)) {
      throw new InputError(
        `the scenario of ${folder.path} has code of its author's, and its file ${shown} is not there; ` +
          "--scenario <file> names it where it is now",
      );
    }
    const { trustCode: agreed } = consent;
    if (agreed !== undefined && (agreed.length < leastDigits || !/^[\da-f]+$/i.test(agreed))) {
      throw new ScenarioError(
        `--trust-code is ${agreed}, expected the first ${leastDigits} hexadecimal digits of a SHA-256, or more`,
      );
    }
    const digest = ownCodeDigest(file);
    if (consent.scenario === undefined && !isTrustedCode(file, digest) && !isMeant(consent, digest)) {
      const other = digest === source.digest ? "" : `; the run was made with other code, ${printable(source.digest)}`;
      const what = `${shown} (sha256 ${digest}${other})`;
      const question = `${folder.path} names code that you have not run here: ${what}. Execute it?`;
      if ((await consent.ask?.(question)) !== true) {
        throw new ScenarioError(
          `${folder.path} names code that you have not run here, and nothing of it was executed: ${what}. ` +
            `Read it; --trust-code ${digest.slice(0, leastDigits)} then executes it, ` +
            "and --scenario <file> executes a file of your own instead",
        );
      }
    }
    const loaded = await reload({ ...stored, source: { ...source, file } });
    if (loaded.source.digest !== digest) throw new InputError(`${shown} was changed while it was loaded`);
    trustCode(file, digest);
    return loaded;
  };

const isMeant = ({ trustCode: start }: Consent, digest: string): boolean =>
  start !== undefined && digest.startsWith(start.toLowerCase());
