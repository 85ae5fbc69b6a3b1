# syntax=docker/dockerfile:1
# The images of a cluster's control plane: static Go programs on a small base, one target each.

ARG BASEIMAGE=registry.example.io/build-image/distroless-iptables:v0.8.2
ARG GOLANG_VERSION=1.25.3

FROM --platform=$BUILDPLATFORM docker.io/library/golang:${GOLANG_VERSION}-bookworm AS builder
ARG TARGETOS
ARG TARGETARCH
ARG LDFLAGS=""
WORKDIR /go/src/cluster
ENV CGO_ENABLED=0 \
    GOFLAGS=-mod=vendor
COPY go.mod go.sum ./
COPY vendor/ vendor/
COPY cmd/ cmd/
COPY pkg/ pkg/
RUN --mount=type=cache,target=/root/.cache/go-build \
    --mount=type=cache,target=/go/pkg/mod \
    GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -ldflags "${LDFLAGS} -s -w" -o /out/ ./cmd/apiserver ./cmd/scheduler

FROM ${BASEIMAGE} AS apiserver
COPY --from=builder /out/apiserver /usr/local/bin/apiserver
# Needed to bind to port 443
USER 0
ENTRYPOINT ["/usr/local/bin/apiserver"]

FROM gcr.io/distroless/static-debian12:nonroot AS scheduler
COPY --from=builder /out/scheduler /usr/local/bin/scheduler
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/scheduler"]
