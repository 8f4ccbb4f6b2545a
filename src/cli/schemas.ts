/**
 * How the command line has values read by their schemas: most read one in the life of a process. In a file of its own, as who
 * asks for help loads no zod.
 */
import { config } from "zod/v4/core";

/** To write code for each schema takes longer than it saves. */
export const writeNoCode = (): void => void config({ jitless: true });
