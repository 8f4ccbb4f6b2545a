/** The aggregation strategies, a line each. */

export { ccfao } from "./ccfao.ts";
export { coordinateMedian } from "./coordinate-median.ts";
export { ewwa } from "./ewwa.ts";
export { fedavg } from "./fedavg.ts";
export { fedavgm } from "./fedavgm.ts";
export { fedmoe } from "./fedmoe.ts";
export { fednova } from "./fednova.ts";
export { fedadagrad, fedadam, fedyogi } from "./fedopt.ts";
export { fedprox } from "./fedprox.ts";
export { fedvra } from "./fedvra.ts";
export { flame } from "./flame.ts";
export { hfedmoe } from "./hfedmoe.ts";
export { krum, multiKrum } from "./krum.ts";
export { mix } from "./mix.ts";
export { otaffl } from "./otaffl.ts";
export { qffl } from "./qffl.ts";
export { flexlora } from "./ranks/flexlora.ts";
export { flora } from "./ranks/flora.ts";
export { fslora } from "./ranks/fslora.ts";
export { hetlora } from "./ranks/hetlora.ts";
export { loraFair } from "./ranks/lora-fair.ts";
export { trivial } from "./ranks/trivial.ts";
export { scaffold } from "./scaffold.ts";
export { fftMoe } from "./shapes/fft-moe.ts";
export { shefl } from "./shapes/shefl.ts";
export { splitMix } from "./shapes/split-mix.ts";
export { trimmedMean } from "./trimmed-mean.ts";
