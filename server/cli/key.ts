import type { Command } from "commander";
import type { KeyView, NewKeyView } from "../admin/keys.ts";
import type { AdminClient } from "./admin-client.ts";
import type { Io } from "./io.ts";
import { connect, oneOf, printJson, remote, span, type RemoteOptions } from "./remote.ts";
import { table } from "./table.ts";
import { agoWords, spanWords } from "./words.ts";

interface CreateOptions extends RemoteOptions {
  readonly permission: "read" | "write" | "admin";
  readonly cache?: string[];
  readonly scope?: string;
  readonly reads?: string[];
  readonly untrusted?: boolean;
  readonly public?: boolean;
  readonly expires?: number;
  readonly deployAgent?: string;
  readonly deployActivate?: string;
}

const COLUMNS = ["ID", "NAME", "PERMISSION", "CACHES", "SCOPE", "CREATED", "USED", "STATE"];

/** `stowhouse key`: API keys of a server. */
export function registerKeyCommands(program: Command, io: Io): void {
  const key = program.command("key").description("Create, list, revoke and rotate API keys.");

  remote(key, "create", "Make an API key and print it; it is shown this once.")
    .argument("<name>", "what the key is for")
    .option("-p, --permission <permission>", "read, write or admin", oneOf(["read", "write", "admin"]), "read")
    .option("--cache <names...>", "caches it is good for, the first is its default, * for all (default: default; an admin key: all)")
    .option("--scope <scope>", "the one scope it writes (default: the cache's)")
    .option("--reads <scopes...>", "exactly the scopes it reads, in this order (default: the one it writes)")
    .option("--untrusted", "what it writes goes first when room has to be made")
    .option("--public", "a read key that may stand in a workflow for everyone to see")
    .option("--expires <duration>", "ends after so long, like 90d (default: never)", span)
    .option("--deploy-agent <workspace>", "an agent's key of a Cachix Deploy workspace; workspace/name for one agent only")
    .option("--deploy-activate <workspace>", "may tell the agents of this Cachix Deploy workspace what to activate")
    .action(async (name: string, options: CreateOptions) => {
      const { permission, cache: caches, scope, reads, untrusted, expires } = options;
      const body = {
        name, permission, caches, scope, reads, public: options.public,
        ...(untrusted ? { trusted: false } : {}),
        deploy: deployRight(options),
        ...(expires === undefined ? {} : { expires: new Date(Date.now() + expires).toISOString() }),
      };
      printNew(await connect(options, io).post<NewKeyView>("/keys", body), options, io);
    });

  remote(key, "list", "List API keys, those that have ended too.").action(async (options: RemoteOptions) => {
    const keys = await allKeys(connect(options, io));
    if (options.json) return printJson(io, keys);
    const now = Date.now();
    const rows = keys.map((one) => [
      one.id, one.name, rightsOf(one), one.caches.join(","), one.scope ?? "-",
      one.created === null ? "configuration" : agoWords(one.created, now), agoWords(one.used, now), stateOf(one, now),
    ]);
    io.stdout.write(table(COLUMNS, rows).text);
  });

  remote(key, "revoke", "End an API key at once, with all sessions made from it.")
    .argument("<id>", "its id, as `key list` shows it")
    .action(async (id: string, options: RemoteOptions) => {
      const info = await connect(options, io).delete<KeyView>(`/keys/${encodeURIComponent(id)}`);
      if (options.json) return printJson(io, info);
      io.stdout.write(`Key ${info.id} (${info.name}) is revoked.\n`);
    });

  remote(key, "rotate", "Make a new key with the same rights; the old one ends after the overlap.")
    .argument("<id>", "its id, as `key list` shows it")
    .option("--overlap <duration>", "how long the old key works on", span, 86_400_000)
    .action(async (id: string, options: RemoteOptions & { overlap: number }) => {
      const created = await connect(options, io).post<NewKeyView>(`/keys/${encodeURIComponent(id)}/rotate`, { overlap: Math.ceil(options.overlap / 1000) });
      printNew(created, options, io);
      io.stderr.write(options.overlap === 0 ? `The old key ${id} has ended.\n` : `The old key ${id} works on for ${spanWords(options.overlap)}.\n`);
    });
}

function deployRight({ deployAgent, deployActivate }: CreateOptions): KeyView["deploy"] {
  if (deployActivate !== undefined) return { workspace: deployActivate, may: "activate" };
  const [workspace, agent] = deployAgent?.split("/", 2) ?? [];
  return workspace === undefined ? undefined : { workspace, may: "agent", ...(agent === undefined ? {} : { agent }) };
}

function rightsOf({ permission, public: open, deploy }: KeyView): string {
  const more = deploy && (deploy.may === "activate" ? `activates ${deploy.workspace}` : `agent ${deploy.workspace}/${deploy.agent ?? "*"}`);
  return [permission, ...(open ? ["public"] : []), ...(more === undefined ? [] : [more])].join(", ");
}

/** The key alone goes to standard output, so that a script can take it. */
function printNew({ key, info }: NewKeyView, options: RemoteOptions, io: Io): void {
  if (options.json) return printJson(io, { key, info });
  io.stderr.write(`Key ${info.id} (${info.name}): ${info.permission}, caches ${info.caches.join(", ")}, expires ${info.expires ?? "never"}. It is shown this once:\n`);
  io.stdout.write(`${key}\n`);
}

async function allKeys(client: AdminClient): Promise<KeyView[]> {
  const keys: KeyView[] = [];
  for (let after: string | undefined; ; ) {
    const page = await client.get<{ keys: KeyView[]; next: string | null }>("/keys", { after, limit: 500 });
    keys.push(...page.keys);
    if (page.next === null) return keys;
    after = page.next;
  }
}

function stateOf(key: KeyView, now: number): string {
  if (key.revoked !== null) return "revoked";
  if (key.expires === null) return "active";
  return Date.parse(key.expires) <= now ? "expired" : `ends ${agoWords(key.expires, now)}`;
}
