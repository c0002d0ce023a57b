# syntax=docker/dockerfile:1

FROM rust:1-slim-bookworm AS build
WORKDIR /src

# The dependencies first, in a layer of their own: it is built again only when they change.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p cmd/latido internal tests/it \
    && echo 'fn main() {}' | tee cmd/latido/main.rs > tests/it/main.rs \
    && touch internal/lib.rs \
    && cargo build --release --locked \
    && rm -r cmd internal tests

COPY sql sql
COPY internal internal
COPY cmd cmd
# What was copied is older than what was built from the empty files: cargo goes by the clock.
RUN touch internal/lib.rs cmd/latido/main.rs \
    && cargo build --release --locked

# No shell, no package manager; certificates for a database with TLS, and a user without rights.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/latido /usr/local/bin/latido
USER nonroot
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["latido", "healthcheck"]
ENTRYPOINT ["latido"]
CMD ["serve"]
