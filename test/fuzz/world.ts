import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AddressInfo } from "node:net";
import { buildApp, defaultConfig } from "../../server/app.ts";
import type { Keyspace } from "../../server/core/entry.ts";
import { Log } from "../../server/http/log.ts";
import { protocols } from "../../server/protocols/index.ts";
import type { RecordedRequest } from "../fixtures/recorded/request.ts";

/** Stands in everything of others, and in nothing that is asked: an answer that holds it has leaked. */
export const CANARY = "canary-7f3a9c51";
/** Keys of others begin so; requests may ask for it. */
export const FOREIGN = "foreign-";

export interface Answered {
  readonly status: number;
  /** Head and body. */
  readonly bytes: Buffer;
  readonly body: Buffer;
}

export interface World {
  readonly writeKey: string;
  readonly adminKey: string;
  /** A session token that reads and writes one branch of a repository. */
  readonly session: string;
  /** A key of others, whose answers hold the canary. */
  readonly othersKey: string;
  /** Of another team in the same cache. */
  readonly rivalKey: string;
  /** Gives others entries under these very names and more. */
  plant(names: readonly string[]): Promise<void>;
  /** Sends a request without a socket. Rejects when no answer comes. */
  inject(request: RecordedRequest): Promise<Answered>;
  readonly url: string;
  /** Requests whose credential or signature was accepted, by operation. */
  readonly accepted: ReadonlyMap<string, number>;
  /** What the server could not handle. */
  readonly errors: readonly string[];
  close(): Promise<void>;
}

/** Longest a request may take, ms: past it the server hangs. */
const PATIENCE = 15_000;
/** What the server allows a client that goes silent in the middle of a body, ms. */
const STALL = 400;

/** Others: another repository with the same branch names, a pull request of it, another team, and another cache. */
const OTHERS = [["default", "7700:refs/heads/main"], ["default", "7700:refs/pull/7/merge"], ["default", "team:other"], ["other", "local:main"]] as const;

/** nip's, and that of the recorded requests of GitHub Actions. */
const VERSIONS = ["", "03a1cc8d96e60eab2dc3e5a78264dcd25edf724d68d5bb3805c512e22226336c"];

/** Reads the access log instead of writing it: it knows who was let in. */
class Watcher extends Log {
  readonly accepted = new Map<string, number>();
  readonly errors: string[] = [];

  constructor() {
    super("info");
  }

  override line(text: string): void {
    const { level, msg, op, actor, protocol } = JSON.parse(text) as Record<string, string>;
    if (level === "error") this.errors.push(text);
    if (msg !== "request" || actor === "" || op === "other") return;
    const name = `${protocol} ${op}`;
    this.accepted.set(name, (this.accepted.get(name) ?? 0) + 1);
  }
}

export async function makeWorld(): Promise<World> {
  const data = await mkdtemp(join(tmpdir(), "stowhouse-fuzz-"));
  const log = new Watcher();
  const keys = { adminKey: "stow_admin_for-fuzzing-0001", writeKey: "stow_rw_for-fuzzing-000001" };
  const server = await buildApp(
    defaultConfig({ data, caches: { default: {}, other: {} }, auth: keys, limits: { uploads: 100_000, bodyStall: `${STALL}ms`, headersTimeout: "1s" }, log: { level: "info" } }),
    { log },
  );
  const { app, core, identity } = server;
  await app.listen({ host: "127.0.0.1", port: 0 });
  const { key } = await identity.keys.create({ name: `${CANARY} job`, permission: "write", scope: "team:job", reads: ["team:job", "local:main"] });
  const othersKey = (await identity.keys.create({ name: `${CANARY} of others`, permission: "write", caches: ["other"] })).key;
  const rivalKey = (await identity.keys.create({ name: `${CANARY} of a rival`, permission: "write", scope: "team:other", reads: ["team:other"] })).key;
  const session = (await app.inject({ method: "POST", url: "/v1/auth/session", headers: { authorization: `Bearer ${key}` }, payload: {} })).json<{ token: string }>().token;

  const keyspaces: readonly Keyspace[] = protocols.flatMap((protocol) => protocol.keyspaces).filter((keyspace) => !keyspace.contentAddressed);
  const plant = async (names: readonly string[]) => {
    const puts = OTHERS.flatMap(([cache, scope]) => {
      const grant = { cache, read: [scope], write: scope, trusted: true, admin: false, actor: "key:others" };
      return keyspaces.flatMap((keyspace) => [...names, `${FOREIGN}${CANARY}`].flatMap((name) => VERSIONS.map((version) =>
        core.bodies.put(grant, keyspace, name, Buffer.from(`${CANARY} ${scope} ${name}`), { version, overwrite: true, metadata: JSON.stringify({ of: CANARY }) }),
      )));
    });
    await Promise.all(puts);
  };

  const inject = async ({ method, path, headers, body }: RecordedRequest): Promise<Answered> => {
    const { "transfer-encoding": _, ...sent } = headers;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error("no answer")), PATIENCE);
    });
    const answered = app.inject({ method: method as "GET", url: path, headers: { host: "127.0.0.1", ...sent }, ...(body && { payload: body }) });
    const response = await Promise.race([answered, late]).finally(() => clearTimeout(timer));
    return { status: response.statusCode, bytes: Buffer.concat([Buffer.from(JSON.stringify(response.headers)), response.rawPayload]), body: response.rawPayload };
  };

  return {
    ...keys, session, othersKey, rivalKey, plant, inject,
    url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`,
    accepted: log.accepted,
    errors: log.errors,
    close: async () => {
      await server.close();
      await rm(data, { recursive: true, force: true });
    },
  };
}
