/** The round policies, a line each. */
export { fedasync } from "./fedasync.ts";
export { fedbuff } from "./fedbuff.ts";
export { semiSynchronous } from "./semi-synchronous.ts";
export { synchronous } from "./synchronous.ts";
