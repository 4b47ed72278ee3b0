/**
 * Numbers and names that only the server which gave them knows. Where a job has several servers, tools get them marked with
 * the server's number, so that nothing has to be remembered here: what a tool sends says where it belongs.
 */

/** @param servers how many there are */
export function mark<T extends string | number>(handle: T, server: number, servers: number): T {
  if (servers < 2) return handle;
  return (typeof handle === "number" ? handle * servers + server : `${handle}-${server}`) as T;
}

export interface Unmarked {
  readonly handle: string;
  readonly server: number;
}

/** Undefined for a handle that was not marked so. */
export function unmark(marked: string, servers: number): Unmarked | undefined {
  if (servers < 2) return { handle: marked, server: 0 };
  if (/^\d{1,16}$/.test(marked)) return { handle: String(Math.floor(Number(marked) / servers)), server: Number(marked) % servers };
  const [, handle, server] = /^(.*)-(\d{1,3})$/.exec(marked) ?? [];
  return handle === undefined || Number(server) >= servers ? undefined : { handle, server: Number(server) };
}
