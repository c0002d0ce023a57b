# syntax=docker/dockerfile:1

# The release that rust-toolchain.toml names.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src

COPY Cargo.toml Cargo.lock ./
COPY sql sql
COPY internal internal
COPY cmd cmd
# The commit that `latido --version` shows: .git does not reach the builder.
ARG LATIDO_COMMIT
# What was downloaded and built stays in the builder's cache, one for each architecture, so only changed crates are built again.
ARG TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=target-$TARGETARCH,target=/src/target \
    cargo build --release --locked --bin latido \
    && cp target/release/latido /usr/local/bin/latido

# No shell, no package manager; certificates for a database with TLS, and a user without rights.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/latido /usr/local/bin/latido
USER nonroot
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["latido", "healthcheck"]
ENTRYPOINT ["latido"]
CMD ["serve"]
