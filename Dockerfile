# pyinit on top of any Linux image, its own Python in /opt/pyinit and none needed in yours:
#   docker build -t pyinit:node --build-arg BASE_IMAGE=node:22-bookworm-slim .
# Only what is to be copied into other images (`COPY --from=pyinit:runtime / /`):
#   docker build -t pyinit:runtime --target runtime .
# For other processors too: docker buildx build --platform linux/amd64,linux/arm64 …

ARG BASE_IMAGE=python:3.13-slim-bookworm
# Where pyinit's Python comes from: a Debian with CPython 3.11 to 3.13. Give an image of your
# own that has the compiler and your pip settings when the build may not reach the public
# registries.
ARG BUILD_IMAGE=python:3.13-slim-bookworm

# -- tools: they stay behind ----------------------------------------------------------------
FROM ${BUILD_IMAGE} AS tools
USER root
RUN set -eu; \
    packages=''; \
    command -v cc >/dev/null || packages="$packages gcc libc6-dev"; \
    command -v patchelf >/dev/null || packages="$packages patchelf"; \
    [ -e /usr/include/sys/capability.h ] || packages="$packages libcap-dev"; \
    command -v python3 >/dev/null || packages="$packages python3 python3-venv python3-dev"; \
    if [ -n "$packages" ]; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends $packages; \
        rm -rf /var/lib/apt/lists/*; \
    fi
RUN python3 -m venv /tools && /tools/bin/pip install --no-cache-dir 'cyclonedx-python-lib>=8'

# -- what pyproject.toml asks for, alone: other changes of that file rebuild nothing below --
FROM tools AS requirements
COPY pyproject.toml /src/
RUN python3 -c "import tomllib; \
    print(*tomllib.load(open('/src/pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
    >/requirements.txt

# -- the interpreter and the packages: rebuilt when one of them changes ---------------------
FROM tools AS interpreter
COPY --from=requirements /requirements.txt /
COPY scripts/bundle /src/scripts/
RUN set -eu; \
    library="/opt/pyinit/lib/$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')"; \
    /tools/bin/pip install --no-cache-dir --no-compile --use-pep517 --target "$library" \
        --requirement /requirements.txt; \
    rm -rf "$library/bin"; \
    python3 /src/scripts/bundle interpreter /opt/pyinit

# -- this checkout --------------------------------------------------------------------------
FROM interpreter AS code
WORKDIR /src
COPY LICENSE ./
COPY scripts scripts
COPY entrypoint entrypoint
RUN set -eu; \
    python3 scripts/bundle code /code/opt/pyinit; \
    /tools/bin/python scripts/sbom /opt/pyinit >/code/opt/pyinit/share/sbom.cdx.json; \
    mkdir -p /code/usr/local/bin; \
    ln -s /opt/pyinit/bin/pyinit /code/usr/local/bin/pyinit; \
    cp -a /code/. /; \
    python3 scripts/bundle check; \
    pyinit --version

# -- what other images copy -----------------------------------------------------------------
FROM scratch AS runtime
COPY --from=interpreter /opt/pyinit /opt/pyinit
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
COPY --from=interpreter /opt/pyinit /opt/pyinit
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
