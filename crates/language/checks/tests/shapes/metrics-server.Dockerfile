ARG ARCH="amd64"
ARG OS="linux"
FROM quay.io/example/busybox-${OS}-${ARCH}:latest
LABEL maintainer="The Metrics Authors <developers@example.org>"
LABEL org.opencontainers.image.authors="The Metrics Authors" \
      org.opencontainers.image.vendor="Metrics" \
      org.opencontainers.image.title="Metrics" \
      org.opencontainers.image.description="A monitoring system and time series database" \
      org.opencontainers.image.licenses="Apache License 2.0"

ARG ARCH="amd64"
ARG OS="linux"
COPY .build/${OS}-${ARCH}/metrics        /bin/metrics
COPY .build/${OS}-${ARCH}/promtool       /bin/promtool
COPY documentation/examples/metrics.yml  /etc/metrics/metrics.yml
COPY LICENSE                             /LICENSE
COPY NOTICE                              /NOTICE
COPY npm_licenses.tar.bz2                /npm_licenses.tar.bz2

WORKDIR /metrics
RUN chown -R nobody:nobody /etc/metrics /metrics && chmod g+w /metrics

USER       nobody
EXPOSE     9090
VOLUME     [ "/metrics" ]
ENTRYPOINT [ "/bin/metrics" ]
CMD        [ "--config.file=/etc/metrics/metrics.yml", \
             "--storage.tsdb.path=/metrics" ]
