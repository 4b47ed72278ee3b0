import { errors } from "../core/errors.ts";

/**
 * The token of an Authorization header: Bearer; Basic password with any login; Basic login when the password is empty or
 * `x-oauth-basic`: each tool can send only one of them. Undefined when the client sends a scheme but no token, as a
 * workflow does whose secret is empty (a fork's pull request): that is the same as no header.
 * @throws unauthorized for any other form
 */
export function tokenOf(header: string): string | undefined {
  const [, scheme, value] = /^\s*([A-Za-z]+)(?: +(\S+))?\s*$/.exec(header) ?? [];
  switch (scheme?.toLowerCase()) {
    case "bearer":
      return value;
    case "basic":
      return value === undefined ? undefined : basicToken(value);
    default:
      throw errors.unauthorized();
  }
}

function basicToken(value: string): string | undefined {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(value)) throw errors.unauthorized();
  const text = Buffer.from(value, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) throw errors.unauthorized();
  const login = text.slice(0, colon);
  const password = text.slice(colon + 1);
  return (password === "" || password === "x-oauth-basic" ? login : password) || undefined;
}
