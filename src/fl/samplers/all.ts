/** The client samplers, a line each. */
export { oort } from "./oort.ts";
export { powerOfChoice } from "./power-of-choice.ts";
export { roundRobin } from "./round-robin.ts";
export { tifl } from "./tifl.ts";
export { uniform } from "./uniform.ts";
export { weighted } from "./weighted.ts";
