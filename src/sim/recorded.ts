/**
 * Records of other simulators in this room's terms.
 *
 * FedScale, https://github.com/SymbioticLab/FedScale: a device is {computation: milliseconds of one sample's forward
 * pass, communication: kbit/s, one number for both directions}; its availability is {active: [start…], inactive:
 * [end…], finish_time} in seconds, with time folded modulo finish_time.
 */
import { seconds } from "../base/units.ts";
import type { TraceSpec } from "./availability/availability-windows.ts";
import type { DeviceRecord } from "./fleet/fleet-spec.ts";

export interface FedScaleDevice {
  readonly computation: number;
  readonly communication: number;
}

/** FedScale takes a training step for three forward passes. */
const passesPerStep = 3;

export const fromFedScaleDevice = (
  { computation, communication }: FedScaleDevice,
  tokensPerExample: number,
): DeviceRecord => ({
  tokensPerSecond: (tokensPerExample * 1_000) / (passesPerStep * computation),
  downlink: communication * 125,
  uplink: communication * 125,
});

export interface FedScaleAvailability {
  readonly active: readonly number[];
  readonly inactive: readonly number[];
  readonly finish_time: number;
}

/**
 * One trace of records that share a period; windows of a shorter record end with it. A start without an end lasts until
 * the record does.
 */
export function fromFedScaleAvailability(records: readonly FedScaleAvailability[]): TraceSpec {
  const period = Math.max(...records.map(({ finish_time }) => finish_time));
  return {
    type: "trace",
    period: seconds(period),
    devices: records.map(({ active, inactive, finish_time }) =>
      active
        .map((start, i) => [seconds(start), seconds(Math.min(inactive[i] ?? finish_time, finish_time))] as const)
        .filter(([start, end]) => end > start),
    ),
    assignment: "cycle",
  };
}
