import { createSocket, type Socket } from "node:dgram";
import { PROXY } from "./control-plane.ts";
import { NODE } from "./pki.ts";

/**
 * The names of Services (`name.namespace.svc`, with or without `cluster.local`), for pods and for the rig's own processes. It
 * stands in for CoreDNS, and answers no other name: RFC 1035, questions of type A and AAAA.
 */
export async function startDns(): Promise<Socket> {
  const known = new Map<string, string[]>();
  const socket = createSocket("udp4");
  socket.on("message", (question, from) => {
    void answer(question, known).then((reply) => reply && socket.send(reply, from.port, from.address));
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(53, NODE, resolve);
  });
  return socket;
}

const A = 1;

async function answer(question: Buffer, known: Map<string, string[]>): Promise<Buffer | undefined> {
  if (question.length < 17) return undefined;
  const labels: string[] = [];
  let at = 12;
  for (let length = question[at]!; length > 0 && at + length < question.length; at += length + 1, length = question[at] ?? 0) labels.push(question.toString("latin1", at + 1, at + 1 + length).toLowerCase());
  const end = at + 5;
  const type = question.readUInt16BE(at + 1);
  const addresses = await addressesOf(labels, known);
  const told = type === A ? (addresses ?? []) : [];
  const header = Buffer.from(question.subarray(0, 12));
  // A response, with recursion available; 3: no such name.
  header.writeUInt16BE(0x8180 | (addresses === undefined ? 3 : 0), 2);
  header.writeUInt32BE(0x00010000 | told.length, 4);
  header.writeUInt32BE(0, 8);
  // The question's name, type A, class IN, five seconds, four bytes.
  const records = told.map((address) => Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, ...address.split(".").map(Number)]));
  return Buffer.concat([header, question.subarray(12, end), ...records]);
}

/** The ClusterIP of a Service, or its pods' where it has none; while the API is away, those known last. */
async function addressesOf(labels: readonly string[], known: Map<string, string[]>): Promise<string[] | undefined> {
  const [service, namespace, svc, ...domain] = labels;
  if (svc !== "svc" || !["", "cluster.local"].includes(domain.join("."))) return undefined;
  const name = `${namespace}/${service}`;
  try {
    const found = await ask(`/api/v1/namespaces/${namespace}/services/${service}`);
    if (found.status === 404) known.delete(name);
    if (found.ok) {
      const { spec } = (await found.json()) as { spec: { clusterIP: string } };
      known.set(name, spec.clusterIP === "None" ? await pods(namespace!, service!) : [spec.clusterIP]);
    }
  } catch {
    // Asked while the API server is dead.
  }
  return known.get(name);
}

async function pods(namespace: string, service: string): Promise<string[]> {
  const found = await ask(`/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices?labelSelector=kubernetes.io/service-name%3D${service}`);
  const { items } = (await found.json()) as { items: { endpoints: { addresses: string[]; conditions: { ready: boolean } }[] | null }[] };
  return items.flatMap(({ endpoints }) => (endpoints ?? []).filter(({ conditions }) => conditions.ready).flatMap(({ addresses }) => addresses));
}

const ask = (path: string) => fetch(PROXY + path, { signal: AbortSignal.timeout(2000) });
