import type { S3ClientConfig } from "@aws-sdk/client-s3";

/**
 * Temporary credentials from a container's metadata service. The SDK keeps them and asks again shortly before they expire.
 * https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
 * @param timeout milliseconds
 */
export function endpointCredentials(url: string, timeout: number): Extract<S3ClientConfig["credentials"], Function> {
  return async () => {
    const response = await fetch(url, { signal: AbortSignal.timeout(timeout), redirect: "error" });
    if (!response.ok) throw new Error(`the credentials endpoint answered ${response.status}`);
    const { AccessKeyId, SecretAccessKey, Token, Expiration } = (await response.json()) as Record<string, unknown>;
    if (typeof AccessKeyId !== "string" || typeof SecretAccessKey !== "string") throw new Error("the credentials endpoint answered no credentials");
    return {
      accessKeyId: AccessKeyId,
      secretAccessKey: SecretAccessKey,
      ...(typeof Token === "string" && { sessionToken: Token }),
      ...(typeof Expiration === "string" && { expiration: new Date(Expiration) }),
    };
  };
}
