/** Colors for a terminal, and where FORCE_COLOR asks for them; elsewhere plain text, in CI too. */
import pc from "picocolors";

export const colors = pc.createColors(
  pc.isColorSupported && (process.stdout.isTTY === true || Boolean(process.env.FORCE_COLOR)),
);
