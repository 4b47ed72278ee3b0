import { Document, isMap, Scalar, type Node } from "yaml";
import { ConfigSchema } from "../../config/schema.ts";
import type { Theirs } from "./theirs.ts";

/** What becomes of one of their settings. */
export interface Note {
  /** As they call it, or what is meant where it is no single setting. */
  readonly setting: string;
  readonly text: string;
}

/** A value that can't be what its setting needs; the message says what was expected. */
export class Misfit extends Error {}

/** What one of their settings becomes. @throws Misfit */
export type Take = (value: unknown, draft: Draft, theirs: Theirs) => void;

/** Our configuration as it is put together, and what the reader must know of it. */
export class Draft {
  readonly #document = new Document({});
  /** Left out, and why. */
  readonly dropped: Note[] = [];
  /** What nobody but the reader can do. */
  readonly byHand: Note[] = [];

  /** @param comment beside the value, or above a list */
  set(path: readonly string[], value: unknown, comment?: string): void {
    const node = this.#document.createNode(value) as Node;
    if (comment !== undefined && node instanceof Scalar) node.comment = ` ${comment}`;
    else if (comment !== undefined) node.commentBefore = ` ${comment}`;
    this.#document.setIn(path, node);
  }

  has(path: readonly string[]): boolean {
    return this.#document.hasIn(path);
  }

  drop(setting: string, text: string): void {
    this.dropped.push({ setting, text });
  }

  todo(setting: string, text: string): void {
    this.byHand.push({ setting, text });
  }

  /** For the program's own check. */
  get value(): unknown {
    return this.#document.toJS();
  }

  /** @param heading lines above everything */
  yaml(heading: string): string {
    this.#document.commentBefore = ` ${heading}`;
    const { contents } = this.#document;
    if (isMap(contents)) {
      const order = Object.keys(ConfigSchema.properties);
      contents.items.sort((a, b) => order.indexOf(String(a.key)) - order.indexOf(String(b.key)));
      for (const pair of contents.items) pair.key = Object.assign(new Scalar(String(pair.key)), { spaceBefore: true });
    }
    return this.#document.toString({ lineWidth: 0 });
  }
}

/** Says what becomes of each of their settings, in the order of the table; what the table doesn't name is dropped, too. */
export function translate(theirs: Theirs, table: Readonly<Record<string, Take>>, draft: Draft): void {
  for (const [setting, take] of Object.entries(table)) {
    const value = theirs.get(setting);
    // Empty text says nothing, as an empty field does.
    if (value === undefined || value === "") continue;
    try {
      take(value, draft, theirs);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      draft.drop(setting, error.message);
    }
  }
  for (const setting of theirs.unread(Object.keys(table))) draft.drop(setting, "no such setting is known here");
}

/** Dropped because of this. */
export function dropped(setting: string, why: string): Take {
  return (_value, draft) => draft.drop(setting, why);
}

/** Read where the setting it belongs to is. */
export const elsewhere: Take = () => {};
