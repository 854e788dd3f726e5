# Both images can be replaced, by digest for instance:
#   docker build --build-arg RUST_IMAGE=rust@sha256:... --build-arg RUNTIME_IMAGE=... --build-arg REVISION=$(git rev-parse HEAD) .
# They must share a libc: Debian 12 in both.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /sonde
COPY . .
ARG REVISION=unknown
# Dependencies stay compiled in caches between builds, so that a change of src/ compiles only src/. Cargo knows a
# change by its time: without `touch`, a checkout older than the cache would be given the binary of another one. It is
# copied out because a cache is no part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/sonde/target,sharing=locked \
    touch src/lib.rs src/main.rs \
    && SONDE_REVISION="${REVISION}" cargo build --release --locked --bin sonde \
    && cp target/release/sonde /usr/local/bin/sonde

# This image brings the certificate authorities. Others go over its /etc/ssl/certs/ca-certificates.crt, into a file that
# SSL_CERT_FILE names, or for one target into `tls.ca_file`.
FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sonde" \
      org.opencontainers.image.description="Continuous, trustworthy measurement of LLM runtimes: a sidecar daemon for Prometheus" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /usr/local/bin/sonde /usr/local/bin/sonde
# Numeric, so that Kubernetes can tell that it is not root.
USER 65532:65532
# The default is loopback: to publish the port, `--listen 0.0.0.0:10798` or SONDE__SERVER__LISTEN is needed too.
EXPOSE 10798
ENTRYPOINT ["/usr/local/bin/sonde"]
CMD ["serve"]
