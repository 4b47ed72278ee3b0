#!/usr/bin/env node
/**
 * The command `stowhouse` in a checkout. Plain JavaScript, because it must run on the Node of the machine (20 or newer):
 * where that is older than 24 it starts itself again with the Node 24 that `npm ci` put into node_modules.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const WANTED = 24;
const root = fileURLToPath(new URL("..", import.meta.url));
const modules = `${root}node_modules`;
const node = `${modules}/node/bin/node${process.platform === "win32" ? ".exe" : ""}`;

if (!existsSync(`${modules}/fastify`)) fail("Stowhouse's dependencies are not installed.", "npm ci");
else if (Number.parseInt(process.versions.node, 10) >= WANTED) await import("./cli.ts");
else if (existsSync(node)) restart();
else fail(`Stowhouse needs Node ${WANTED}. This is ${process.version}, and ${node} is missing.`, "npm rebuild node");

/** Says what is wrong and which command helps. */
function fail(problem, command) {
  process.stderr.write(`${problem}\nRun this in ${root}: ${command}\n`);
  process.exitCode = 1;
}

/** Runs the same command with Node 24, passes signals on, and ends as it ends. */
function restart() {
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: "inherit" });
  // A terminal sends these to both processes by itself; a second one could cut a graceful shutdown short.
  const fromTerminal = process.stdin.isTTY ? ["SIGINT", "SIGQUIT", "SIGHUP"] : [];
  const signals = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2"];
  const passOn = (signal) => void (fromTerminal.includes(signal) || child.kill(signal));
  for (const signal of signals) process.on(signal, passOn);
  child.on("error", (error) => fail(`${node} does not start: ${error.message}.`, "npm rebuild node"));
  child.on("exit", (code, signal) => {
    for (const name of signals) process.off(name, passOn);
    if (signal === null) process.exitCode = code;
    else process.kill(process.pid, signal);
  });
}
