import { appendFileSync, existsSync, readdirSync } from "node:fs";
import path from "node:path";
import type { TestProject } from "vitest/node";
import { run } from "../../fixtures/tools.ts";
import { foreignCrds, helm, kubernetes } from "../tools.ts";
import { startControlPlane, PROXY } from "./control-plane.ts";
import { startDns } from "./dns.ts";
import { buildImages } from "./images.ts";
import { startNode, volumes } from "./node.ts";
import { Keeper, rigHome, until } from "./processes.ts";

/** Claims the tests make, with room. */
const VOLUMES = 40;

/** Brings a whole cluster up, once for all tests; STOWHOUSE_RIG_NODE=0 leaves the node away: nothing runs, all is accepted. */
export default async function up(project: TestProject): Promise<() => Promise<void>> {
  const keeper = new Keeper();
  const began = performance.now();
  const say = (what: string) => console.log(`rig: ${what} after ${((performance.now() - began) / 1000).toFixed(1)} s`);
  rigHome();
  await Promise.all([kubernetes(), helm(), foreignCrds()]);
  const node = process.env["STOWHOUSE_RIG_NODE"] !== "0";
  const images = node ? buildImages() : undefined;
  images?.catch(() => {});
  try {
    await startControlPlane(keeper);
    say("control plane works");
    const dns = await startDns();
    await apply(volumes(VOLUMES));
    await applyForeign();
    say("other projects' definitions are there");
    if (images !== undefined) {
      const { directory, sizes } = await images;
      say(`images are made (${Object.entries(sizes).map(([name, size]) => `${name} ${(size / 1e6).toFixed(0)} MB`).join(", ")})`);
      project.provide("imageSizes", { ...sizes });
      await startNode(keeper, directory);
      say("node is Ready");
    }
    return async () => {
      dns.close();
      keeper.stop();
    };
  } catch (error) {
    keeper.stop();
    throw error;
  }
}

async function apply(objects: readonly object[]): Promise<void> {
  const file = path.join(rigHome(), "apply.json");
  appendFileSync(file, objects.map((object) => JSON.stringify(object)).join("\n"));
  await run(path.join(await kubernetes(), "kubectl"), ["--server", PROXY, "apply", "--server-side", "-f", file], { timeout: 60_000 });
}

/** The definitions that the operator knows how to use; what they name is created, and accepted by the real schema. */
const USED = ["servicemonitors", "prometheusrules", "gateways", "httproutes", "certificates", "issuers"];

async function applyForeign(): Promise<void> {
  const home = await foreignCrds();
  const files = readdirSync(home).flatMap((project) => readdirSync(path.join(home, project)).filter((file) => USED.some((kind) => file.endsWith(`_${kind}.yaml`))).map((file) => path.join(home, project, file)));
  if (files.length !== USED.length || !files.every((file) => existsSync(file))) throw new Error(`other projects' definitions have moved: ${files.join(", ")}`);
  await run(path.join(await kubernetes(), "kubectl"), ["--server", PROXY, "apply", "--server-side", ...files.flatMap((file) => ["-f", file])], { timeout: 120_000 });
  await until("the definitions are established", 30, async () => {
    const answer = await fetch(`${PROXY}/apis/gateway.networking.k8s.io/v1`);
    return answer.ok;
  });
}

declare module "vitest" {
  export interface ProvidedContext {
    imageSizes: Record<string, number>;
  }
}
