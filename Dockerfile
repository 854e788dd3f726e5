# Builds the image of Sonde: a program of its own without shell or package manager. docs/container.md says how to run it.
#
# Every base can be replaced, by digest for instance:
#   docker build --build-arg RUST_IMAGE=rust@sha256:... --build-arg RUNTIME_IMAGE=gcr.io/distroless/cc-debian13@sha256:... .
# The runtime's libc must be at least as new as the builder's: Debian 12 builds and Debian 13 runs.
ARG RUST_IMAGE=rust:1.95-bookworm
# A libc that is linked dynamically, because names are to be resolved as everything else in the cluster resolves them
# (/etc/nsswitch.conf, search domains), and because NVML is a library that is opened while running.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian13:nonroot

# All compiling is done on the machine that builds, for the platform asked for: an emulated compiler takes hours.
FROM --platform=${BUILDPLATFORM} ${RUST_IMAGE} AS chef
WORKDIR /sonde
RUN cargo install cargo-chef --version 0.1.78 --locked --root /usr/local
ARG BUILDARCH
ARG TARGETARCH
# The target is named even where it is the builder's own, so that results lie in one place. `ring` finds its C compiler
# by the target's name.
# hadolint ignore=DL3008 # the base's own suite decides, and is pinned with it
RUN set -eu; \
    here="${BUILDARCH:-$(dpkg --print-architecture)}"; \
    target="${TARGETARCH:-${here}}"; \
    case "${target}" in \
      amd64) triple=x86_64-unknown-linux-gnu; gcc=x86-64-linux-gnu; linker=x86_64-linux-gnu-gcc ;; \
      arm64) triple=aarch64-unknown-linux-gnu; gcc=aarch64-linux-gnu; linker=aarch64-linux-gnu-gcc ;; \
      *) echo "no recipe for \`${target}\`; rule: amd64 or arm64" >&2; exit 1 ;; \
    esac; \
    if [ "${target}" != "${here}" ]; then \
      apt-get update; \
      apt-get install -y --no-install-recommends "gcc-${gcc}" "libc6-dev-${target}-cross"; \
      rm -rf /var/lib/apt/lists/*; \
      rustup target add "${triple}"; \
    else \
      linker=cc; \
    fi; \
    mkdir -p "${CARGO_HOME}"; \
    printf '[build]\ntarget = "%s"\n[target.%s]\nlinker = "%s"\n' "${triple}" "${triple}" "${linker}" \
      > "${CARGO_HOME}/config.toml"

# What the dependencies are, without the sources: its result changes only when they do.
FROM chef AS planner
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS builder
COPY --from=planner /sonde/recipe.json recipe.json
# The layer that takes minutes, and that a change of the sources leaves alone.
RUN cargo chef cook --release --locked --all-features --bin sonde --recipe-path recipe.json
COPY Cargo.toml Cargo.lock ./
COPY src src
ARG REVISION=unknown
RUN SONDE_REVISION="${REVISION}" cargo build --release --locked --all-features --bin sonde \
    && install -D target/*/release/sonde /out/sonde \
    && mkdir /out/config

# Brings the certificate authorities. Others go over its /etc/ssl/certs/ca-certificates.crt, into a file that
# SSL_CERT_FILE names, or for one target into `tls.ca_file`.
FROM ${RUNTIME_IMAGE}
ARG RUNTIME_IMAGE
ARG SOURCE=unknown
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sonde" \
      org.opencontainers.image.description="Continuous, trustworthy measurement of LLM runtimes: a sidecar daemon for Prometheus" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${RUNTIME_IMAGE}"
COPY --from=builder /out/sonde /usr/local/bin/sonde
# A sonde.yaml that is mounted here is read without a word on the command line. Not every builder makes the folder.
COPY --from=builder /out/config /etc/sonde
WORKDIR /etc/sonde
# Numeric, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 10798
ENTRYPOINT ["/usr/local/bin/sonde"]
# Sonde's own default is loopback, which nobody outside of the container reaches. Whoever gives arguments of his own
# gives the address too, by `--listen`, SONDE__SERVER__LISTEN or `server.listen`.
CMD ["serve", "--listen", "0.0.0.0:10798"]
