import { WireError } from "../wire.ts";

/** A body of JSON. @throws WireError */
export function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    throw new WireError("the body is no JSON");
  }
}
