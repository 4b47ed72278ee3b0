import { connect, createServer, type Socket } from "node:net";
import { startMoto } from "../fixtures/moto.ts";
import { startPostgres } from "../fixtures/postgres.ts";
import { NODE } from "./rig/pki.ts";

/** A bucket and a database that pods reach, outside the cluster as in real life. */
export interface Backend {
  readonly endpoint: string;
  readonly bucket: string;
  readonly databaseUrl: string;
  /** Empties nothing; ends both. */
  stop(): Promise<void>;
}

export async function startBackend(): Promise<Backend> {
  const [moto, postgres] = await Promise.all([startMoto(), startPostgres(["max_connections=200"])]);
  const doors = await Promise.all([onNode(Number(new URL(moto.url).port)), onNode(postgres.port)]);
  return {
    endpoint: moto.url.replace("127.0.0.1", NODE), bucket: moto.bucket, databaseUrl: postgres.url.replace("127.0.0.1", NODE),
    stop: async () => {
      for (const close of doors) close();
      await Promise.all([moto.stop(), postgres.stop()]);
    },
  };
}

/** Opens a loopback port to pods, at the node's address. Returns what closes it. */
async function onNode(port: number): Promise<() => void> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const target = connect(port, "127.0.0.1");
    for (const [one, other] of [[client, target], [target, client]] as const) {
      sockets.add(one);
      one.setNoDelay(true);
      one.pipe(other);
      one.on("error", () => other.destroy());
      one.on("close", () => (sockets.delete(one), other.destroy()));
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, NODE, resolve);
  });
  return () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
}
