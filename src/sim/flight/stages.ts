/**
 * The stages of a participation, in order. Messages, faults, keyed luck, rows of participations and the report go by this
 * table: a new stage is a line here, and what the actors do that enter it.
 */

interface StageFacts {
  /** A message to the client or from it, or work on its device. */
  readonly is: "down" | "up" | "work";
  /** Keys its luck, in [0, 2⁸); never another's. Those under 4 were here first. */
  readonly key: number;
  /** The instant of its end in a participation's row; null for what comes after the outcome. */
  readonly ends: string | null;
  /** Whether only those have it whose plan asks for it. */
  readonly isAsked: boolean;
}

export const stages = {
  /** The invitation, with the model. */
  download: { is: "down", key: 1, ends: "downloadedAt", isAsked: false },
  /** Probes and local steps. */
  training: { is: "work", key: 0, ends: "trainedAt", isAsked: false },
  /** A few numbers ahead of the update, and what the server says to them. */
  preliminary: { is: "up", key: 4, ends: "reportedAt", isAsked: true },
  answer: { is: "down", key: 5, ends: "answeredAt", isAsked: true },
  /** The update. */
  upload: { is: "up", key: 2, ends: "arrivedAt", isAsked: false },
  /** That it was counted. */
  acknowledge: { is: "down", key: 3, ends: null, isAsked: false },
} as const satisfies Readonly<Record<string, StageFacts>>;

type Table = typeof stages;
export type Stage = keyof Table;
/** The stages that are a message. */
export type MessageStage = { [Name in Stage]: Table[Name]["is"] extends "work" ? never : Name }[Stage];

export const stageNames = Object.keys(stages) as readonly Stage[];
export const messageStages = stageNames.filter((name): name is MessageStage => stages[name].is !== "work");

/** Where a participation can fail: in a stage, or before the first. */
export type Phase = "before-download" | Stage;
export const phases: readonly Phase[] = ["before-download", ...stageNames];

type EndOf<Name extends Stage> = Exclude<Table[Name]["ends"], null>;
type AskedStage = { [Name in Stage]: Table[Name]["isAsked"] extends true ? Name : never }[Stage];

type UsualEnd = EndOf<Exclude<Stage, AskedStage>>;
type AskedEnd = EndOf<AskedStage>;

/** Something for the end of each stage that is written down. */
export type ByInstant<Usual, Asked> = Record<UsualEnd, Usual> & Record<AskedEnd, Asked>;

/** When each stage ended, in milliseconds of virtual time; null before that, absent for what nobody asked for. */
export type Instants = Record<UsualEnd, number | null> & Partial<Record<AskedEnd, number | null>>;

type AskedFacts = { [Name in AskedStage]: { readonly name: Name; readonly ends: EndOf<Name> } }[AskedStage];

/** Those that only some have. */
export const askedStages = stageNames.flatMap((name) => {
  const { ends, isAsked } = stages[name];
  return isAsked ? [{ name, ends } as AskedFacts] : [];
});

/** The stages whose end is written down, in order. */
export const timedStages = stageNames.flatMap((name) => {
  const { ends, isAsked, is } = stages[name];
  return ends === null ? [] : [{ name, ends, isAsked, is }];
});
