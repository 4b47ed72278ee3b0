FROM node:24-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
# No dependency of the server builds or downloads anything in an install script, so none may run.
RUN npm ci --ignore-scripts
COPY server server
# push and pull share the action's client.
COPY action/client action/client
RUN npm run build

FROM node:24-bookworm-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Stowhouse" \
      org.opencontainers.image.description="One self-hosted remote build cache for every build tool" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/stowhouse/stowhouse" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Nix's older NARs are compressed with these; without them they are taken unverified.
RUN apt-get update && apt-get install -y --no-install-recommends bzip2 xz-utils && rm -rf /var/lib/apt/lists/*
# Nothing but /data is ever written: run it with --read-only.
RUN install -d -o 10001 -g 10001 /data
COPY package.json LICENSE /app/
COPY --from=build /src/build /app/build
ENV NODE_ENV=production \
    STOWHOUSE_LISTEN=0.0.0.0:8420 \
    STOWHOUSE_DATA=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8420
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.STOWHOUSE_LISTEN.split(':').pop() + '/livez', { signal: AbortSignal.timeout(4000) }).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# A small young generation: buffers of bodies that were passed on are given back sooner (a third less memory under uploads).
ENTRYPOINT ["node", "--max-semi-space-size=2", "/app/build/server.mjs"]
CMD ["serve"]
