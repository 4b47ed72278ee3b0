import Type, { type TUnsafe } from "typebox";
import type { Field } from "../server/config/fields.ts";

/** Builders of what charts' values have beside the words of the server's configuration: texts that may be empty, and Kubernetes' own objects. */

interface Words {
  readonly description: string;
  readonly default?: unknown;
  /** Shown as a comment in values.yaml. */
  readonly example?: unknown;
}

/** A text; empty means not given, as charts have it. */
export function string(words: Words & { readonly pattern?: string }): TUnsafe<string> {
  return Type.Unsafe<string>({ type: "string", default: "", ...words });
}

/** An object Kubernetes defines: passed on as it is. */
export function object(words: Words): TUnsafe<object> {
  return Type.Unsafe<object>({ type: "object", default: {}, ...words });
}

/** A list of objects Kubernetes defines. */
export function objects(words: Words): TUnsafe<object[]> {
  return Type.Unsafe<object[]>({ type: "array", default: [], items: { type: "object" }, ...words });
}

export function strings(words: Words & { readonly items?: Field }): TUnsafe<string[]> {
  return Type.Unsafe<string[]>({ type: "array", default: [], items: { type: "string" }, ...words });
}

/** Labels, annotations and their like. */
export function texts(words: Words): TUnsafe<Record<string, string>> {
  return Type.Unsafe<Record<string, string>>({ type: "object", default: {}, additionalProperties: { type: "string" }, ...words });
}

/** What `maxUnavailable` and its like may be. */
export function countOrShare(words: Words): TUnsafe<string | number> {
  return Type.Unsafe<string | number>({ type: ["integer", "string"], ...words });
}
