# The image: hardtack, CA certificates, and nothing else. No shell, no C library.
#
#   docker build -t hardtack .         compiles in Rust's own image
#   scripts/docker-image hardtack      takes a binary that was built outside; needs no registry

# What both ways share. Nothing can be run here: there is nothing that could run it.
FROM scratch AS settings
LABEL org.opencontainers.image.title="hardtack" \
      org.opencontainers.image.description="Authorization service and gateway for devices, agents and services" \
      org.opencontainers.image.licenses="Apache-2.0"
# SQLite sorts in files where memory is not enough, and there is no /tmp. Without HOME an engine says /.
ENV PATH=/usr/local/bin \
    HOME=/nonexistent \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    SQLITE_TMPDIR=/data \
    HARDTACK_CONTAINER=1 \
    HARDTACK_DATA_DIR=/data \
    HARDTACK_LISTEN=0.0.0.0:7420 \
    HARDTACK_GATEWAY_LISTEN=0.0.0.0:7421
# In numbers: there is no /etc/passwd, and Kubernetes' runAsNonRoot wants to see that it is not 0.
USER 65532:65532
EXPOSE 7420 7421
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["hardtack", "healthcheck"]
ENTRYPOINT ["hardtack"]
CMD ["serve"]

# From a directory that scripts/docker-image laid out, not from this one.
FROM settings AS prebuilt
COPY root /
COPY --chown=65532:65532 owned /
VOLUME /data

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# glibc linked in: such a binary still resolves names, by what /etc/nsswitch.conf says.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    host=$(rustc -vV | sed -n 's/^host: //p') && \
    RUSTFLAGS='-C target-feature=+crt-static' \
        cargo build --release --locked --bin hardtack --target "$host" && \
    scripts/docker-image --layout /image "target/$host/release/hardtack"

FROM settings
COPY --from=build /image/root /
COPY --from=build --chown=65532:65532 /image/owned /
VOLUME /data
