/**
 * Where things are, below each of our mounts (nix.md §2.1). Params are what stands between colons; their forms are regular
 * expressions, so that the root, which other protocols share, has no path of ours that is not Nix's.
 */
const HASH = ":hash(^[0-9a-df-np-sv-z]{32})";

export const PATHS = {
  info: "/nix-cache-info",
  narInfo: `/${HASH}.narinfo`,
  listing: `/${HASH}.ls`,
  nar: "/nar/:file",
  log: "/log/:drv",
  realisation: "/realisations/:id.doi",
  trace: "/build-trace-v2/:drv/:output.doi",
  debuginfo: "/debuginfo/:id(^[0-9a-f]{40})",
  publicKey: "/pubkey",
  untrustedKey: "/pubkey/untrusted",
  pin: `/pin/${HASH}.narinfo`,
  pins: "/pins",
} as const;

/** Above the path of a cache; `""` is the root, where the credential's first cache is. */
export const MOUNTS = ["", "/nix", "/nix/:cache(^[a-z0-9][a-z0-9-]{0,62})"] as const;

/** Where ncps takes pushes. */
export const UPLOAD = "/upload";

/** Content of nix-cache-info. */
export function formatCacheInfo(storeDir: string, priority: number): string {
  return `StoreDir: ${storeDir}\nWantMassQuery: 1\nPriority: ${priority}\n`;
}
