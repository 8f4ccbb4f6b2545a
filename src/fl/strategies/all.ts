/** The aggregation strategies, a line each. */
export { coordinateMedian } from "./coordinate-median.ts";
export { fedavg } from "./fedavg.ts";
export { fedavgm } from "./fedavgm.ts";
export { fedadagrad, fedadam, fedyogi } from "./fedopt.ts";
export { flame } from "./flame.ts";
export { krum, multiKrum } from "./krum.ts";
export { mix } from "./mix.ts";
export { trimmedMean } from "./trimmed-mean.ts";
