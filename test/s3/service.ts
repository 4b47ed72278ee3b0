import { check } from "../../server/config/check.ts";
import { Problems } from "../../server/config/problems.ts";
import { S3Options } from "../../server/storage/s3/options.ts";
import { startMoto } from "../fixtures/moto.ts";
import { startVersitygw } from "../fixtures/versitygw.ts";

/** Settings as the configuration resolves them. @throws config */
export function s3Options(raw: Record<string, unknown>): S3Options {
  const problems = new Problems();
  const options = check(S3Options, raw, { path: "s3", field: "" }, problems) as S3Options;
  if (!problems.none) throw problems.error();
  return options;
}

export interface Service {
  readonly kind: string;
  /** What a configuration has to say to reach the service's bucket. */
  readonly raw: Record<string, unknown>;
  stop(): Promise<void>;
}

async function moto(): Promise<Service> {
  const { url, bucket, stop } = await startMoto();
  return { kind: "moto", raw: { bucket, endpoint: url, pathStyle: true, region: "us-east-1", accessKeyId: "any", secretAccessKey: "any" }, stop };
}

async function versitygw(): Promise<Service> {
  const { url, bucket, accessKey, secretKey, stop } = await startVersitygw();
  return { kind: "versitygw", raw: { bucket, endpoint: url, pathStyle: true, region: "us-east-1", accessKeyId: accessKey, secretAccessKey: secretKey }, stop };
}

const SERVICES: Record<string, () => Promise<Service>> = { moto, versitygw };

/** Services to test against: moto, or those that STOWHOUSE_TEST_S3 names (`moto,versitygw`). */
export const services: [string, () => Promise<Service>][] = (process.env["STOWHOUSE_TEST_S3"] ?? "moto").split(",").map((name) => {
  const start = SERVICES[name];
  if (!start) throw new Error(`STOWHOUSE_TEST_S3 names ${name}; there are ${Object.keys(SERVICES).join(", ")}`);
  return [name, start];
});
