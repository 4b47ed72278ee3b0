import type { ProtocolClient } from "../../server/protocols/client.ts";
import { client as githubActions } from "../../server/protocols/github-actions/client.ts";
import { client as nip } from "../../server/protocols/nip/client.ts";

const UNAVAILABLE = { status: 503, type: "application/json; charset=utf-8", body: JSON.stringify({ error: "unavailable" }) };

/** The action's own archives: their client knows by itself what to do without a server, so it hears the truth. */
const archive: ProtocolClient = {
  name: "archive",
  serves: (path) => path.startsWith("/archive/v1/"),
  purpose: ({ method, path }) => (method === "GET" || method === "HEAD" ? "download" : path.endsWith("/blobs") ? "upload" : "other"),
  failOpen: () => UNAVAILABLE,
  read: ({ path }, status, body) => {
    if (status === 200 && path === "/archive/v1/find") return { result: body?.includes('"hit":true') ? "hit" : "miss" };
    return { result: status === 200 && path.endsWith("/commit") ? "stored" : "other" };
  },
};

/** Every protocol the daemon relays; nothing else of a server is reached through it, least of all its administration. */
export const clients: readonly ProtocolClient[] = [githubActions, nip, archive];
