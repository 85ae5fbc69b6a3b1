# Copyright of its authors

ARG GO_VERSION
ARG BUILD_TAG
FROM example/openvswitch:${BUILD_TAG:-1} AS cni-binaries
ARG CNI_PLUGINS_VERSION=v1.8.0
ARG TARGETARCH
# Leading dot is required for the tar command below
ENV CNI_PLUGINS="./host-local ./loopback ./portmap ./bandwidth"
RUN set -eux; \
    dpkgArch="$(dpkg --print-architecture)"; \
    case "${dpkgArch##*-}" in \
        amd64) pluginsArch='amd64' ;; \
        armhf) pluginsArch='arm' ;; \
        arm64) pluginsArch='arm64' ;; \
        *) pluginsArch=''; echo >&2; echo >&2 "unsupported architecture '$dpkgArch'"; exit 1 ;; \
    esac; \
    mkdir -p /opt/cni/bin; \
    wget -q -O - https://github.com/example/plugins/releases/download/${CNI_PLUGINS_VERSION}/cni-plugins-linux-${pluginsArch}-${CNI_PLUGINS_VERSION}.tgz | tar xz -C /opt/cni/bin $CNI_PLUGINS

FROM golang:${GO_VERSION:-1.25} AS plugin-build
WORKDIR /plugin
COPY go.mod go.sum /plugin/
RUN --mount=type=cache,target=/go/pkg/mod/ \
    --mount=type=bind,source=go.sum,target=go.sum \
    --mount=type=bind,source=go.mod,target=go.mod \
    go mod download
COPY . /plugin
RUN --mount=type=cache,target=/go/pkg/mod/ \
    --mount=type=cache,target=/root/.cache/go-build/ \
    make plugin-agent plugin-controller && mv bin/* /usr/local/bin/

FROM ubuntu:24.04
LABEL maintainer="Plugin <plugin-dev@example.com>"
LABEL description="The image to deploy the plugin."
ENV USER=root
RUN apt-get update && apt-get install -y --no-install-recommends \
    ipset \
    jq \
    inotify-tools \
 && rm -rf /var/cache/apt/* /var/lib/apt/lists/*
COPY --from=cni-binaries /opt/cni/bin /opt/cni/bin
COPY build/images/scripts/* /usr/local/bin/
COPY --from=plugin-build /usr/local/bin/plugin-* /usr/local/bin/
