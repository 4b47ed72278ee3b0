import type { KubeObject, Ref } from "./object.ts";

/** Reading and writing the fields of Secrets. Values are never logged, and reach no event and no condition. */

export function secretRef(namespace: string, name: string): Ref {
  return { apiVersion: "v1", kind: "Secret", namespace, name };
}

/** A field's text; undefined when it isn't there, or empty. */
export function fieldOf(secret: KubeObject | undefined, field: string): string | undefined {
  const value = (secret?.["data"] as Record<string, string> | undefined)?.[field];
  return value === undefined || value === "" ? undefined : Buffer.from(value, "base64").toString("utf8");
}

/** The lines of a field that holds one secret a line, the latest first. */
export function linesOf(secret: KubeObject | undefined, field: string): string[] {
  return (fieldOf(secret, field) ?? "").split(/\r?\n/).filter((line) => line !== "");
}

export function encode(fields: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).map(([name, text]) => [name, Buffer.from(text, "utf8").toString("base64")]));
}
