/** Which clients attack, and how: each client by chance of its own, the same in every run of the seed. */
import type { Attack } from "../../actors/attack.ts";
import type { ClientId } from "../base/ids.ts";
import type { Rng } from "../base/random.ts";
import type { ScenarioData } from "../scenario/schema.ts";
import { type Fleet, tierOf } from "../sim/fleet/fleet.ts";

/** The first entry that strikes a client counts. */
export function attackOf({ attackers }: ScenarioData, fleet: Fleet, rng: Rng): (client: ClientId) => Attack | null {
  return (client) => {
    for (const [entry, { share, tier, attack }] of attackers.entries()) {
      if (tier !== undefined && tierOf(fleet, client) !== tier) continue;
      if (rng.at("attacker", entry).at(client).bernoulli(share)) return attack;
    }
    return null;
  };
}
