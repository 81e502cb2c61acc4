# graft's server, worker, engine and client on Debian 12, without compilers.
#
#   docker build -t graft --build-arg COMMIT=$(git rev-parse --short=12 HEAD) .    the engine computes on the CPU
#   docker build -t graft:cuda --build-arg TORCH=cuda .
#   docker run -v graft:/var/lib/graft -p 127.0.0.1:50051:50051 graft
#
# Server and worker run as uid 10001: a directory of the host that is mounted at /var/lib/graft must belong to it
# (chown 10001 DIR); a volume does by itself. docker stop ends them in order: jobs that run go on at the next start.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
ARG TORCH=cpu
# Of the sources, for --version: the build sees no git.
ARG COMMIT=
# LibTorch's path here is its path in the last stage too: it is the engine's RPATH.
ENV XDG_CACHE_HOME=/opt
WORKDIR /src
COPY tools/setup tools/lib.sh tools/wheels.py tools/requirements-libtorch-cpu.txt tools/requirements-libtorch-cuda.txt tools/
RUN tools/setup --torch "$TORCH" && rm -rf /opt/graft/wheels
COPY . .
RUN cmake -S . -B /build -G Ninja -DCMAKE_BUILD_TYPE=Release -DGRAFT_TORCH="$TORCH" -DGRAFT_COMMIT="$COMMIT" \
  && cmake --build /build --target graft graft-server graft-worker graft-engine \
  && deploy/docker/collect /build "/opt/graft/libtorch-2.11.0-$TORCH" /out

FROM ${BASE}
COPY --from=build /out/packages /usr/local/share/graft/packages
RUN apt-get update \
  && xargs apt-get install -y --no-install-recommends tini </usr/local/share/graft/packages \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --system --uid 10001 --create-home --home-dir /var/lib/graft graft
COPY --from=build /out/usr/local/bin/ /usr/local/bin/
COPY --from=build /out/opt/graft/ /opt/graft/
USER graft
WORKDIR /var/lib/graft
VOLUME /var/lib/graft
# Inside the container every address is its own; who reaches the published ports is for docker run -p to say.
EXPOSE 50051 9464
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["graft", "--timeout", "4", "jobs", "--limit", "1"]
# tini is process 1: it hands signals on and buries the processes whose parents have died. Docker waits 10 s after SIGTERM.
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["graft-server", "--data", "/var/lib/graft", "--listen", "0.0.0.0:50051", "--http", "0.0.0.0:9464", "--http-api", "--insecure", "--workers", "1", "--stop-workers", "--stop-seconds", "8", "--worker-log", "stderr"]
