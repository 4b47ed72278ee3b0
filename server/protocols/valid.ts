import { errors } from "../core/errors.ts";
import { WireError } from "./wire.ts";

/** What a parser makes of what came over the wire. @throws badRequest for what is none of the protocol's */
export function valid<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw error instanceof WireError ? errors.badRequest(error.message) : error;
  }
}
