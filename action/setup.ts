import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Endpoint } from "../server/protocols/client.ts";
import { exported, identify } from "./access.ts";
import { restoreAndReport } from "./cache-steps.ts";
import { rightsOf, situationOf, type Rights } from "./event.ts";
import { Failure } from "./failure.ts";
import type { Identity } from "./identity.ts";
import { setupInputs, type SetupInputs } from "./inputs.ts";
import { SET_UP } from "./memory.ts";
import type { NixRequest } from "./nix/setup.ts";
import type { Parts } from "./parts.ts";
import { applicant } from "./session.ts";
import { jobDir, leave, newSecret, newUseDir, type NixUse, type State } from "./state.ts";
import { surroundings } from "./surroundings.ts";
import type { Env, Step } from "./toolkit.ts";
import { buildkit, chooseTools, type Chosen, type Surroundings } from "./tools.ts";

/** Main of the set-up action: finds out what the job may do, points its tools at the cache, restores. @throws Failure */
export async function setup(step: Step, parts: Parts): Promise<void> {
  const { toolkit, env } = step;
  const inputs = setupInputs((name) => toolkit.getInput(name));
  const stateDir = jobDir(env);
  const identity = await identify(step, inputs, stateDir);
  const [session] = identity.sessions;
  const rights = rightsOf(identity.mode);
  const connections = identity.sessions.map(({ url, token }) => ({ url, token }));
  const state: State = { mode: identity.mode, reason: identity.reason, alone: identity.alone, connections, expires: Math.min(...identity.sessions.map(({ expires }) => expires)), stateDir, daemon: undefined, nix: undefined, restored: undefined };
  announce(step, inputs, identity);

  const daemonDir = session && inputs.daemon ? newUseDir(stateDir, "daemon-") : undefined;
  const around = surroundings(step);
  const chosen = chooseTools(session ? inputs.tools : [], around);
  const nix = chosen.tools.some(({ name }) => name === "nix") ? { directory: newUseDir(stateDir, "nix-"), since: Date.now() } : undefined;
  // Post must know what there is to end, whatever happens from here on.
  leave(toolkit, { ...state, daemon: daemonDir, nix });
  const daemon = daemonDir === undefined ? undefined : await startDaemon(step, parts, inputs, identity, daemonDir);
  const endpoint = daemon ?? session;
  if (session && endpoint) pointTools(step, chosen, around, endpoint, endpoint === session, rights);
  const nixed = nix && endpoint && rights.read ? await pointNix(step, parts, { ...nix, endpoint, direct: endpoint === session, connections }) : nix;
  // For the action's restore and save, and the command line.
  for (const [name, value] of Object.entries(exported(endpoint, identity))) toolkit.exportVariable(name, value);

  const left = { ...state, daemon: daemonDir, nix: nixed };
  leave(toolkit, left);
  if (inputs.archive === undefined) return;
  const { archive } = inputs;
  toolkit.setOutput("cache-primary-key", archive.key);
  const restored = await restoreAndReport(step, parts, { connections, rights, reason: identity.reason, alone: identity.alone, stateDir, name: SET_UP }, { ...inputs, ...archive });
  if (restored.status === "hit") {
    toolkit.setOutput("cache-matched-key", restored.matchedKey ?? "");
    toolkit.setOutput("cache-size", String(restored.total));
  }
  leave(toolkit, { ...left, restored });
}

function announce({ toolkit }: Step, inputs: SetupInputs, { mode, reason, sessions, dead }: Identity): void {
  const [session] = sessions;
  toolkit.setOutput("available", String(session !== undefined));
  toolkit.setOutput("mode", mode);
  toolkit.setOutput("reason", reason);
  toolkit.setOutput("read-only", String(mode === "read"));
  toolkit.setOutput("server-url", session?.url ?? "");
  toolkit.setOutput("token", session?.token ?? "");
  toolkit.setOutput("scope", session?.scope ?? "");
  const { from, to } = session ? buildkit(session, session.rights) : { from: "", to: "" };
  toolkit.setOutput("buildkit-cache-from", from);
  toolkit.setOutput("buildkit-cache-to", to);
  if (session) return toolkit.info(`Stowhouse at ${session.url}, cache ${session.cache}: ${mode} by ${reason}`);
  if (inputs.failOnError && dead.length > 0) throw new Failure(reason);
  const message = `The job goes on without Stowhouse: ${reason}.`;
  if (inputs.mode === "off") toolkit.info(message);
  else toolkit.warning(message);
}

/** Where the daemon is, with the only secret it knows; undefined when it did not start. */
async function startDaemon(step: Step, parts: Parts, inputs: SetupInputs, { sessions }: Identity, stateDir: string): Promise<Endpoint | undefined> {
  const { toolkit, env } = step;
  const secret = newSecret();
  toolkit.setSecret(secret);
  const proxies = { httpProxy: either(env, "http_proxy"), httpsProxy: either(env, "https_proxy"), noProxy: either(env, "no_proxy") };
  const runtimeToken = env["ACTIONS_RUNTIME_TOKEN"];
  try {
    const { url, caFile } = await parts.startDaemon({
      servers: sessions.map(({ url, token, kind, expires }) => ({ url, token, session: { kind, expires } })), renewal: applicant(inputs, situationOf(env, step.payload), env), stateDir, secret, logFile: join(stateDir, "daemon.log"),
      readOnly: sessions.every(({ rights }) => !rights.write),
      ...(inputs.listen === undefined ? {} : { listen: `${inputs.listen}:0` }),
      ...(Object.values(proxies).some((one) => one !== undefined) ? { upstreamProxy: proxies } : {}),
      ...(inputs.intercept && runtimeToken ? { intercept: { runtimeToken } } : {}),
      ...(inputs.metricsUrl === undefined ? {} : { push: { url: inputs.metricsUrl, labels: labels(env) } }),
    }, env);
    if (inputs.intercept && caFile !== undefined) intercept(step, url, caFile, proxies.noProxy);
    return { url, token: secret };
  } catch (error) {
    toolkit.warning(`Stowhouse's daemon did not start, so tools talk to the server themselves: ${(error as Error).message}`);
    return undefined;
  }
}

function labels(env: Env): Record<string, string> {
  const { GITHUB_REPOSITORY: repository, GITHUB_WORKFLOW: workflow, GITHUB_JOB: job } = env;
  return Object.fromEntries(Object.entries({ repository, workflow, job }).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** Unmodified `actions/cache` and `setup-*` steps find the daemon through the proxy variables. */
function intercept({ toolkit, env }: Step, url: string, caFile: string, noProxy: string | undefined): void {
  const settings: Record<string, string> = { https_proxy: url, NODE_EXTRA_CA_CERTS: caFile, STOWHOUSE_INTERCEPTS: "true", no_proxy: [noProxy, "127.0.0.1", "localhost", "[::1]"].filter(Boolean).join(",") };
  if (env["NODE_EXTRA_CA_CERTS"]) return toolkit.warning("actions/cache is not intercepted: NODE_EXTRA_CA_CERTS is set already, and it takes one file only.");
  for (const [name, value] of Object.entries(settings)) toolkit.exportVariable(name, value);
  // Some tools look at one spelling only; an existing one must not say otherwise.
  for (const name of ["HTTPS_PROXY", "NO_PROXY"]) if (env[name]) toolkit.exportVariable(name, settings[name.toLowerCase()]!);
  toolkit.setOutput("proxy-url", url);
  toolkit.setOutput("ca-file", caFile);
}

const either = (env: Env, name: string): string | undefined => env[name] || env[name.toUpperCase()] || undefined;

function pointTools({ toolkit }: Step, { tools, left }: Chosen, around: Surroundings, endpoint: Endpoint, direct: boolean, rights: Rights): void {
  for (const [name, variable] of left) toolkit.info(`${name} is left alone: ${variable} is set already`);
  for (const tool of tools) for (const [name, value] of Object.entries(tool.env(endpoint, rights, around))) toolkit.exportVariable(name, value);
  toolkit.info(`Tools: ${tools.map(({ name }) => name).join(", ") || "none"}; they talk to the ${direct ? "server" : "daemon"}`);
}

/** Undefined, and a line in the log, when Nix goes on without. */
async function pointNix(step: Step, parts: Parts, { since, ...request }: NixUse & NixRequest): Promise<NixUse | undefined> {
  try {
    await parts.setUpNix(step, request);
    return { directory: request.directory, since };
  } catch (error) {
    step.toolkit.warning(`Nix is left alone: ${(error as Error).message}`);
    rmSync(request.directory, { recursive: true, force: true });
    return undefined;
  }
}
