/** `flame verify <run>`. */
import { given } from "../../base/given.ts";
import { reloadWith } from "../../study/consent.ts";
import { type Check, holds, verifyByRerun, verifyRun } from "../../study/verify.ts";
import { consentOf } from "../screen/ask.ts";
import { colors } from "../screen/colors.ts";
import { exitCodes } from "../screen/failure.ts";
import { terminal } from "../screen/terminal.ts";

interface VerifyFlags {
  readonly rerun?: boolean;
  readonly workers?: number;
  readonly engine?: string;
  readonly json?: boolean;
  readonly scenario?: string;
  readonly trustCode?: string;
}

export async function verify(folder: string, flags: VerifyFlags): Promise<void> {
  const { rerun, workers, engine, json } = flags;
  const found = await verifyRun(folder);
  const checks: Check[] = [...found.checks];
  if (rerun === true) {
    checks.push(await verifyByRerun(folder, given({ workers, engine }), reloadWith(consentOf(flags))));
  }
  const all = { checks, remarks: found.remarks };
  if (json === true) terminal.out.write(`${JSON.stringify({ ...all, holds: holds(all) })}\n`);
  else terminal.out.write(report(checks, found.remarks, rerun === true));
  if (!holds(all)) process.exitCode = exitCodes.failed;
}

function report(checks: readonly Check[], remarks: readonly string[], isRerun: boolean): string {
  const lines = checks.map(({ name, holds: verdict, found }) => {
    const word = verdict === null ? colors.dim("—     ") : verdict ? colors.green("holds ") : colors.red("fails ");
    return `${word} ${name}: ${found}`;
  });
  for (const remark of remarks) lines.push(colors.yellow(remark));
  if (!isRerun) {
    lines.push(
      colors.dim("not checked: that these events follow from the scenario; --rerun runs it again and compares"),
    );
  }
  return `${lines.join("\n")}\n`;
}
