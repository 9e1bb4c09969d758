# pyinit on top of any Debian-based image:
#   docker build -t pyinit:node --build-arg BASE_IMAGE=node:22-bookworm-slim .
# In it pyinit lives in /opt/pyinit, apart from the Python packages of your program.

ARG BASE_IMAGE=python:3.13-slim-bookworm
# Where python-prctl is compiled. Give an image of your own that has the compiler and your
# pip settings when the build may not reach the public registries.
ARG BUILD_IMAGE=${BASE_IMAGE}

# -- wheels: the compiler stays behind in this stage ---------------------------------------
FROM ${BUILD_IMAGE} AS builder
USER root
RUN set -eu; \
    packages=''; \
    command -v cc >/dev/null || packages="$packages gcc libc6-dev"; \
    [ -e /usr/include/sys/capability.h ] || packages="$packages libcap-dev"; \
    command -v python3 >/dev/null || packages="$packages python3 python3-venv python3-dev"; \
    if [ -n "$packages" ]; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends $packages; \
        rm -rf /var/lib/apt/lists/*; \
    fi
RUN python3 -m venv /build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY scripts/pyinit scripts/
COPY entrypoint entrypoint
RUN /build/bin/pip wheel --use-pep517 --no-cache-dir --wheel-dir /wheels .
# The venv refers to the python3 of BASE_IMAGE, which is at the same place in the final stage.
RUN set -eu; \
    python3 -m venv /opt/pyinit; \
    /opt/pyinit/bin/pip install --no-cache-dir --no-index --find-links /wheels pyinit-entrypoint; \
    /opt/pyinit/bin/pip list --format freeze | sed -n 's/^\(pip\|setuptools\|wheel\)==.*/\1/p' \
        | xargs /opt/pyinit/bin/pip uninstall --yes --quiet; \
    /opt/pyinit/bin/pyinit --version

# -- the image -----------------------------------------------------------------------------
FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="pyinit" \
      org.opencontainers.image.description="PID 1 that runs, watches and reloads N workers on one port" \
      org.opencontainers.image.licenses="GPL-3.0-or-later" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER root
RUN set -eu; \
    if ! command -v python3 >/dev/null; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends python3; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    # Written by hand: small images have no useradd.
    echo 'pyinit:x:10001:' >>/etc/group; \
    echo 'pyinit:x:10001:10001::/app:/usr/sbin/nologin' >>/etc/passwd; \
    mkdir -p /app; \
    chown 10001:10001 /app; \
    ln -s /opt/pyinit/bin/pyinit /usr/local/bin/pyinit
COPY --from=builder /opt/pyinit /opt/pyinit
WORKDIR /app
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["pyinit", "health"]
ENTRYPOINT ["pyinit", "-c", "ecosystem.yaml"]
