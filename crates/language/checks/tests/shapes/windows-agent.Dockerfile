# syntax=docker/dockerfile:1
ARG GO_VERSION=1.25
ARG WIN_BASE=mcr.microsoft.com/oss/kubernetes/windows-host-process-containers-base-image:v1.0.0
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS agent-build
WORKDIR /agent
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN --mount=type=cache,target=/root/.cache/go-build/ make windows-bin

FROM --platform=$BUILDPLATFORM busybox:1.37 AS prep
RUN mkdir -p /out/opt
COPY hack/windows/ /out/scripts/

FROM ${WIN_BASE}
SHELL ["powershell", "-NoLogo", "-Command"]
COPY --from=agent-build /agent/bin /k/agent/bin/
COPY --from=prep /out/scripts C:/k/agent/
ENV PATH="C:\Windows\system32;C:\Windows;C:\WINDOWS\System32\WindowsPowerShell\v1.0\;C:\k\agent\bin;"
ENTRYPOINT ["powershell", "-File", "C:/k/agent/run.ps1"]
