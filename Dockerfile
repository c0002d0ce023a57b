# The release that rust-toolchain.toml names. Nothing here needs BuildKit, so that every builder of Docker 20.10 and later works.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src

COPY Cargo.toml Cargo.lock ./
COPY sql sql
COPY internal internal
COPY cmd cmd
# The commit that `latido --version` shows: .git does not reach the builder.
ARG LATIDO_COMMIT
RUN cargo build --release --locked --bin latido \
    && cp target/release/latido /usr/local/bin/latido

# No shell, no package manager; certificates for a database with TLS, and a user without rights.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG LATIDO_COMMIT
LABEL org.opencontainers.image.title="latido" \
      org.opencontainers.image.description="Live statistics from Postgres" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$LATIDO_COMMIT" \
      org.opencontainers.image.source="https://github.com/latido/latido" \
      org.opencontainers.image.documentation="https://github.com/latido/latido/blob/main/docs/deploy/docker.md" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /usr/local/bin/latido /usr/local/bin/latido
# The pages name commands that work outside of the container.
ENV COMMAND_HINTS=container
# By number: Kubernetes refuses a name with `runAsNonRoot`.
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["latido", "healthcheck"]
ENTRYPOINT ["latido"]
CMD ["serve"]
