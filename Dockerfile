# pyinit on top of any Linux image, one static file in /opt/pyinit/bin, no Python needed in yours:
#   docker build -t pyinit:node --build-arg BASE_IMAGE=node:22-bookworm-slim .
# Only what is to be copied into other images (`COPY --from=pyinit:runtime / /`):
#   docker build -t pyinit:runtime --target runtime .
# For other processors too: docker buildx build --platform linux/amd64,linux/arm64 …

ARG BASE_IMAGE=python:3.13-slim-bookworm
# Where the program is linked: Debian 12, whose CPython and C library become part of it. Give an
# image of your own, with what is installed below, when the build may not reach the public
# registries.
ARG BUILD_IMAGE=debian:bookworm-slim

# -- tools: they stay behind ----------------------------------------------------------------
FROM ${BUILD_IMAGE} AS tools
USER root
RUN set -eu; \
    packages='binutils gcc libc6-dev libcap-dev libffi-dev libpython3.11-dev libyaml-dev \
        python3.11 python3.11-venv zlib1g-dev'; \
    if ! dpkg-query --show $packages >/dev/null 2>&1; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends $packages; \
        rm -rf /var/lib/apt/lists/*; \
    fi

# -- what it is built from: fetched again only when that changes ----------------------------
FROM tools AS inputs
WORKDIR /src
COPY scripts/packages scripts/packages
RUN python3.11 -m scripts.packages inputs --cache /cache

# -- this checkout --------------------------------------------------------------------------
FROM inputs AS code
COPY LICENSE ./
COPY scripts scripts
COPY entrypoint entrypoint
RUN set -eu; \
    python3.11 -m scripts.packages runtime /code/opt/pyinit --cache /cache; \
    mkdir -p /code/usr/local/bin; \
    ln -s /opt/pyinit/bin/pyinit /code/usr/local/bin/pyinit; \
    /code/opt/pyinit/bin/pyinit --version

# -- what other images copy -----------------------------------------------------------------
FROM scratch AS runtime
COPY --from=code /code /
ENTRYPOINT ["/opt/pyinit/bin/pyinit"]
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="pyinit" \
      org.opencontainers.image.description="PID 1 that runs, watches and reloads N workers on one port" \
      org.opencontainers.image.licenses="GPL-3.0-or-later" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# -- the image ------------------------------------------------------------------------------
FROM ${BASE_IMAGE}
USER root
# Written by hand: small images have no useradd.
RUN set -eu; \
    echo 'pyinit:x:10001:' >>/etc/group; \
    echo 'pyinit:x:10001:10001::/app:/usr/sbin/nologin' >>/etc/passwd; \
    mkdir -p /app; \
    chown 10001:10001 /app
WORKDIR /app
USER 10001:10001
# The base image may have another one (httpd: SIGWINCH, haproxy: SIGUSR1).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["pyinit", "health"]
ENTRYPOINT ["pyinit", "-c", "ecosystem.yaml"]
COPY --from=code /code /
ARG BASE_IMAGE
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="pyinit" \
      org.opencontainers.image.description="PID 1 that runs, watches and reloads N workers on one port" \
      org.opencontainers.image.licenses="GPL-3.0-or-later" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
