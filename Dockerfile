# One target per image. `cargo xtask images` lays the files of each image out under out/images/<image> first:
#   skeleton/  empty folders for mounts, owned by the image's user (an empty volume takes owner and mode over)
#   files/     everything else, owned by root
# Nothing is downloaded here: every image starts from scratch.
ARG VERSION=dev
ARG REVISION=unknown

FROM scratch AS service
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.vendor="Sextant" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 65532:65532
STOPSIGNAL SIGTERM

FROM service AS cert-authority
LABEL org.opencontainers.image.title="cert-authority" \
      org.opencontainers.image.description="Holds every CA key; issues certificates from a total table of profiles"
COPY --chown=65532:65532 cert-authority/skeleton/ /
COPY cert-authority/files/ /
EXPOSE 7443 9090
ENTRYPOINT ["/usr/local/bin/cert-authority"]
CMD ["serve"]

FROM service AS token-service
LABEL org.opencontainers.image.title="token-service" \
      org.opencontainers.image.description="Join tokens and the ServiceAccount token signer"
COPY --chown=65532:65532 token-service/skeleton/ /
COPY token-service/files/ /
EXPOSE 7443 9090
ENTRYPOINT ["/usr/local/bin/token-service"]
CMD ["serve"]

FROM service AS datastore-proxy
LABEL org.opencontainers.image.title="datastore-proxy" \
      org.opencontainers.image.description="The etcd v3 API over SQLite, PostgreSQL or an etcd"
COPY --chown=65532:65532 datastore-proxy/skeleton/ /
COPY datastore-proxy/files/ /
EXPOSE 2379 2380 9090
ENTRYPOINT ["/usr/local/bin/datastore-proxy"]
CMD ["serve"]

FROM service AS supervisor
LABEL org.opencontainers.image.title="supervisor" \
      org.opencontainers.image.description="The cluster's configuration, nodes and their sessions, add-ons, and the tunnel"
COPY --chown=65532:65532 supervisor/skeleton/ /
COPY supervisor/files/ /
EXPOSE 7443 9443 9090
ENTRYPOINT ["/usr/local/bin/supervisor"]
CMD ["serve"]

FROM service AS runner
LABEL org.opencontainers.image.title="runner" \
      org.opencontainers.image.description="Runs one upstream component; balances in front of the control plane as edge"
COPY --chown=65532:65532 runner/skeleton/ /
COPY runner/files/ /
EXPOSE 6443 9443 9090
ENTRYPOINT ["/usr/local/bin/runner"]
CMD ["serve"]

FROM runner AS kube-apiserver
LABEL org.opencontainers.image.title="kube-apiserver" \
      org.opencontainers.image.description="Upstream's kube-apiserver under Sextant's runner"
COPY kube-apiserver/files/ /

FROM runner AS kube-controller-manager
LABEL org.opencontainers.image.title="kube-controller-manager" \
      org.opencontainers.image.description="Upstream's kube-controller-manager under Sextant's runner"
COPY kube-controller-manager/files/ /

FROM runner AS kube-scheduler
LABEL org.opencontainers.image.title="kube-scheduler" \
      org.opencontainers.image.description="Upstream's kube-scheduler under Sextant's runner"
COPY kube-scheduler/files/ /

# Changes the node's packet filter, so it is root, with NET_ADMIN as its only capability (set where it is run).
FROM service AS netpol-controller
LABEL org.opencontainers.image.title="netpol-controller" \
      org.opencontainers.image.description="NetworkPolicy as one nftables table"
USER 0:0
COPY netpol-controller/files/ /
ENTRYPOINT ["/usr/local/bin/netpol-controller"]
CMD ["serve"]

FROM service AS cli
LABEL org.opencontainers.image.title="cli" \
      org.opencontainers.image.description="The command line, for the Helm chart's hooks"
COPY cli/files/ /
ENTRYPOINT ["/usr/local/bin/sextant"]

FROM service AS coredns
LABEL org.opencontainers.image.title="coredns" \
      org.opencontainers.image.description="Upstream's CoreDNS with the plugins that a cluster needs"
COPY coredns/files/ /
ENTRYPOINT ["/usr/local/bin/coredns"]

FROM service AS local-path-provisioner
LABEL org.opencontainers.image.title="local-path-provisioner" \
      org.opencontainers.image.description="Upstream's local-path-provisioner: volumes in a folder of their node"
COPY local-path-provisioner/files/ /
ENTRYPOINT ["/usr/local/bin/local-path-provisioner"]

FROM service AS metrics-server
LABEL org.opencontainers.image.title="metrics-server" \
      org.opencontainers.image.description="Upstream's metrics-server: what nodes and pods use now"
COPY metrics-server/files/ /
ENTRYPOINT ["/usr/local/bin/metrics-server"]

FROM service AS pause
LABEL org.opencontainers.image.title="pause" \
      org.opencontainers.image.description="Upstream's pause: holds the namespaces of a pod"
COPY pause/files/ /
ENTRYPOINT ["/pause"]

# A shell, a web server and the usual probes in 2 MiB, for first steps and for tests without a registry.
FROM service AS toolbox
LABEL org.opencontainers.image.title="toolbox" \
      org.opencontainers.image.description="busybox for first steps and tests"
COPY --chown=65532:65532 toolbox/skeleton/ /
COPY toolbox/files/ /
ENV PATH=/bin
CMD ["/bin/sh"]

# The two that observe: see compose/observability.yaml, which brings their configuration.
FROM service AS collector
LABEL org.opencontainers.image.title="collector" \
      org.opencontainers.image.description="OpenTelemetry Collector with OTLP in and files out, under the runner"
COPY --chown=65532:65532 collector/skeleton/ /
COPY collector/files/ /
EXPOSE 4317 8888 9090
ENTRYPOINT ["/usr/local/bin/runner"]
CMD ["collector"]

FROM service AS prometheus
LABEL org.opencontainers.image.title="prometheus" \
      org.opencontainers.image.description="Debian's Prometheus and promtool"
COPY --chown=65532:65532 prometheus/skeleton/ /
COPY prometheus/files/ /
EXPOSE 9090
ENTRYPOINT ["/usr/bin/prometheus"]

FROM scratch AS node
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.vendor="Sextant" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.title="node" \
      org.opencontainers.image.description="One node: node-agent, containerd, kubelet and kube-proxy"
COPY node/files/ /
COPY --chown=65532:65532 node/skeleton/ /
ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/node-agent"]
CMD ["init"]
