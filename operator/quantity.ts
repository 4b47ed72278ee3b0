const UNITS: Readonly<Record<string, number>> = { "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60 };

/** Bytes of an amount as Kubernetes writes it (50Gi); undefined for anything else. */
export function parseQuantity(text: unknown): number | undefined {
  const [, digits, unit] = (typeof text === "string" && /^([0-9]+(?:\.[0-9]+)?(?:e[0-9]{1,2})?)([kMGTPE]|[KMGTPE]i)?$/.exec(text)) || [];
  return digits === undefined ? undefined : Number(digits) * UNITS[unit ?? ""]!;
}

/** Bytes in the unit people would use: 1.4 GiB. */
export function humanSize(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  const amount = bytes / 1024 ** power;
  return `${power === 0 || amount >= 100 ? Math.round(amount) : Number(amount.toFixed(1))} ${units[power]}`;
}
