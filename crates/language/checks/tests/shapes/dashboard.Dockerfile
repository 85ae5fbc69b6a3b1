# syntax=docker/dockerfile:1

# to maintain formatting of multiline commands in vscode, add the following to settings.json:
ARG BASE_IMAGE=alpine:3.22.1
ARG JS_IMAGE=node:24-alpine
ARG JS_PLATFORM=linux/amd64
ARG GO_IMAGE=golang:1.25.3-alpine
ARG GO_SRC=go-builder
ARG JS_SRC=js-builder

FROM --platform=${JS_PLATFORM} ${JS_IMAGE} AS js-builder
ENV NODE_OPTIONS=--max_old_space_size=8000
WORKDIR /tmp/dashboard
RUN apk add --no-cache make build-base python3
COPY package.json project.json nx.json yarn.lock .yarnrc.yml ./
COPY .yarn .yarn
COPY packages packages
COPY LICENSE ./
RUN yarn install --immutable && yarn cache clean
COPY tsconfig.json eslint.config.js .editorconfig .browserslistrc .prettierrc.js ./
COPY public public
COPY scripts scripts
ENV NODE_ENV=production
RUN yarn build

FROM ${GO_IMAGE} AS go-builder
ARG COMMIT_SHA=""
ARG BUILD_BRANCH=""
ARG GO_BUILD_TAGS="oss"
ARG WIRE_TAGS="oss"
RUN if grep -i -q alpine /etc/issue; then \
      apk add --no-cache \
          bash \
          # This is required to allow building on arm64 due to a linker
          gcc \
          binutils-gold \
          make git; \
    fi
WORKDIR /tmp/dashboard
COPY go.* ./
COPY pkg/build/go.* pkg/build/
RUN go mod download
COPY embed.go Makefile build.go package.json ./
COPY pkg pkg
ENV COMMIT_SHA=${COMMIT_SHA}
ENV BUILD_BRANCH=${BUILD_BRANCH}
RUN make build-go GO_BUILD_TAGS=${GO_BUILD_TAGS} WIRE_TAGS=${WIRE_TAGS}

# From-tarball build stage
FROM ${BASE_IMAGE} AS tgz-builder
WORKDIR /tmp/dashboard
ARG TGZ="dashboard-latest.linux-x64-musl.tar.gz"
COPY ${TGZ} /tmp/dashboard.tar.gz
# add -v to make tar print every file it extracts
RUN tar x -z -f /tmp/dashboard.tar.gz --strip-components=1

# helpers for COPY --from
FROM ${GO_SRC} AS go-src
FROM ${JS_SRC} AS js-src

# Final stage
FROM ${BASE_IMAGE}
LABEL maintainer="Dashboard Labs <hello@example.com>"
ARG UID="472"
ARG GID="0"
ENV PATH="/usr/share/dashboard/bin:$PATH" \
    PATHS_CONFIG="/etc/dashboard/dashboard.ini" \
    PATHS_DATA="/var/lib/dashboard" \
    PATHS_HOME="/usr/share/dashboard"
WORKDIR $PATHS_HOME
# Install dependencies
RUN if grep -i -q alpine /etc/issue; then \
      apk add --no-cache ca-certificates bash curl tzdata musl-utils && \
      apk info -vv | sort; \
    elif grep -i -q ubuntu /etc/issue; then \
      DEBIAN_FRONTEND=noninteractive && \
      apt-get update && \
      apt-get install -y ca-certificates curl tzdata musl && \
      apt-get autoremove -y && \
      rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=go-src /tmp/dashboard/conf ./conf
RUN if [ ! $(getent group "$GID") ]; then \
      addgroup -S -g $GID dashboard; \
    fi && \
    mkdir -p "$PATHS_HOME/.aws" && \
    chown -R "$UID:$GID" "$PATHS_DATA" "$PATHS_HOME/.aws"
COPY --from=go-src /tmp/dashboard/bin/dashboard* ./bin/
COPY --from=js-src /tmp/dashboard/public ./public
COPY --from=js-src /tmp/dashboard/LICENSE ./
EXPOSE 3000
ARG RUN_SH=./packaging/docker/run.sh
COPY ${RUN_SH} /run.sh
USER "$UID"
ENTRYPOINT [ "/run.sh" ]
