import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import tls from "node:tls";
import type { ProxySettings } from "./settings.ts";

export interface Authority {
  readonly host: string;
  readonly port: number;
}

/** How long a connection may take to come about, ms; the tool itself would have waited about as long. */
const CONNECT_MS = 30_000;
const MAX_HEAD = 16 * 1024;

/** `host:port`, `[::1]:port`; undefined for anything else. */
export function parseAuthority(text: string | undefined, defaultPort?: number): Authority | undefined {
  const [, v6, name, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/@[\]]+))(?::(\d{1,5}))?$/.exec(text ?? "") ?? [];
  const host = v6 ?? name;
  const number = port === undefined ? defaultPort : Number(port);
  return host === undefined || number === undefined || number > 65_535 ? undefined : { host: host.toLowerCase(), port: number };
}

/** Whether a NO_PROXY list names this host: `*`, a name or a domain (with or without its dot), each with a port or without. */
export function bypasses(noProxy: string | undefined, { host, port }: Authority): boolean {
  return (noProxy ?? "").split(/[\s,]+/).filter((entry) => entry !== "").some((entry) => {
    if (entry === "*") return true;
    const [, name, only] = /^\*?\.?(.*?)(?::(\d+))?$/.exec(entry.toLowerCase())!;
    return (only === undefined || Number(only) === port) && (host === name || host.endsWith(`.${name}`));
  });
}

/** A connection to `target`, through the job's own proxy where it had one. @throws Error when none comes about */
export async function open(target: Authority, proxies: ProxySettings): Promise<Socket> {
  const proxy = proxies.httpsProxy && !bypasses(proxies.noProxy, target) ? URL.parse(/:\/\//.test(proxies.httpsProxy) ? proxies.httpsProxy : `http://${proxies.httpsProxy}`) : null;
  if (!proxy) return connected(connect({ ...target, noDelay: true }), "connect");
  const secure = proxy.protocol === "https:";
  const host = proxy.hostname.replace(/^\[|\]$/g, "");
  const port = Number(proxy.port || (secure ? 443 : 80));
  const socket = await (secure ? connected(tls.connect({ host, port, servername: host }), "secureConnect") : connected(connect({ host, port, noDelay: true }), "connect"));
  const name = `${target.host.includes(":") ? `[${target.host}]` : target.host}:${target.port}`;
  const login = proxy.username === "" ? "" : `Proxy-Authorization: Basic ${Buffer.from(`${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`).toString("base64")}\r\n`;
  socket.write(`CONNECT ${name} HTTP/1.1\r\nHost: ${name}\r\n${login}\r\n`);
  const status = await proxyAnswer(socket);
  if (status === 200) return socket;
  socket.destroy();
  throw new Error(`the proxy ${proxy.host} answered ${status}`);
}

function connected<S extends Socket>(socket: S, event: "connect" | "secureConnect"): Promise<S> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => socket.destroy(new Error("the connection did not come about")), CONNECT_MS);
    socket.once("error", reject);
    socket.once("close", () => clearTimeout(timer));
    socket.once(event, () => {
      clearTimeout(timer);
      resolve(socket);
    });
  });
}

/** Reads a proxy's answer to CONNECT byte by byte as it were: what follows it stays in the socket. */
function proxyAnswer(socket: Socket): Promise<number> {
  return new Promise((resolve, reject) => {
    let head = Buffer.alloc(0);
    const timer = setTimeout(() => socket.destroy(new Error("the proxy did not answer")), CONNECT_MS);
    const settle = (act: () => void) => {
      clearTimeout(timer);
      socket.off("data", onData).off("close", onClose);
      socket.pause();
      act();
    };
    const onClose = () => settle(() => reject(new Error("the proxy closed the connection")));
    const onData = (data: Buffer) => {
      head = Buffer.concat([head, data]);
      const end = head.indexOf("\r\n\r\n");
      if (end < 0 && head.length < MAX_HEAD) return;
      settle(() => {
        if (end >= 0 && end + 4 < head.length) socket.unshift(head.subarray(end + 4));
        resolve(Number(/^HTTP\/1\.\d (\d{3})/.exec(head.toString("latin1"))?.[1] ?? 0));
      });
    };
    socket.on("data", onData).on("close", onClose);
  });
}

/** Joins two connections until one ends; then both are gone. */
export function join(one: Duplex, other: Duplex): void {
  const end = () => {
    one.destroy();
    other.destroy();
  };
  one.on("error", end).on("close", end);
  other.on("error", end).on("close", end);
  one.pipe(other);
  other.pipe(one);
}
