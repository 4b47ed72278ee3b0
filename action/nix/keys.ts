import type { Connection } from "../client/archive.ts";
import { exchange } from "../client/exchange.ts";
import type { Patience } from "../client/patience.ts";

/** The job waits for it. ms */
const PATIENCE: Patience = { connect: 2_000, answer: 3_000, stall: 3_000 };
const LIMIT = 64 * 1024;
/** `name:base64`: nothing that could be another setting. */
const KEY = /^[^\s:=#]{1,255}:[0-9a-zA-Z+/=]{1,255}$/;

export interface PublicKeys {
  /** What signs that which main has. */
  readonly trusted: readonly string[];
  /** What signs that which jobs like this one have pushed, and nobody else reads. */
  readonly untrusted: readonly string[];
}

/** The keys of the caches a job reads. @throws Error when no server gives any */
export async function publicKeys(connections: readonly Connection[]): Promise<PublicKeys> {
  const answers = await Promise.allSettled(connections.map(keysOf));
  const given = answers.filter((one) => one.status === "fulfilled").map(({ value }) => value);
  if (given.length === 0) throw answers.find((one) => one.status === "rejected")?.reason ?? new Error("there is no server");
  return { trusted: given.flatMap(({ trusted }) => trusted), untrusted: given.flatMap(({ untrusted }) => untrusted) };
}

async function keysOf(connection: Connection): Promise<PublicKeys> {
  const [trusted, untrusted] = await Promise.all([lines(connection, "/nix/pubkey"), lines(connection, "/nix/pubkey/untrusted")]);
  if (trusted === undefined) throw new Error(`${connection.url} has no binary cache of Nix for this job`);
  return { trusted, untrusted: untrusted ?? [] };
}

/** Undefined when the server has no such list for this credential. @throws ExchangeError */
async function lines({ url, token }: Connection, path: string): Promise<string[] | undefined> {
  const answer = await exchange(new URL(`${url}${path}`), { patience: PATIENCE, headers: token === undefined ? {} : { authorization: `Bearer ${token}` } });
  const text = await answer.text(LIMIT);
  return answer.status === 200 ? text.split("\n").map((line) => line.trim()).filter((line) => KEY.test(line)) : undefined;
}
