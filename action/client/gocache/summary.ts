import type { Figures } from "./figures.ts";
import type { UploadFigures } from "./uploads.ts";

/** One line for people. @param cpu of this process, µs */
export function summary({ gets, puts, receivedBytes, errors, seconds }: Figures, uploads: UploadFigures | undefined, bundle: { records: number; bytes: number }, cpu: number): string {
  const hits = gets.disk.count + gets.bundle.count + gets.server.count;
  const waited = Object.values(gets).reduce((sum, { ms }) => sum + ms, 0) / 1000;
  const parts = [
    `${hits} of ${hits + gets.miss.count} found (disk ${gets.disk.count}, bundle ${gets.bundle.count}, server ${gets.server.count})`,
    `${puts} made`,
    `${megabytes(Math.max(receivedBytes, bundle.bytes))} received`,
    `${waited.toFixed(2)} s waited`,
    ...(uploads ? [`${uploads.sent} uploaded (${megabytes(uploads.bytes)})`] : []),
    ...(uploads && uploads.failed + uploads.undelivered > 0 ? [`${uploads.failed + uploads.undelivered} not uploaded`] : []),
    ...(errors > 0 ? [`${errors} errors`] : []),
    `${seconds.toFixed(1)} s, of which the processor had ${(cpu / 1e6).toFixed(1)}`,
  ];
  return parts.join(", ");
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
