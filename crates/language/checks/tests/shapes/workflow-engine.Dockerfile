# syntax=docker/dockerfile:1.4
ARG WORKFLOW_EXTRAS="celery,cncf,postgres,redis,sftp,ssh"
ARG WORKFLOW_HOME=/opt/workflow
ARG WORKFLOW_UID="50000"
ARG WORKFLOW_VERSION="3.1.0"
ARG BASE_IMAGE="debian:bookworm-slim"
ARG PYTHON_VERSION="3.12"

FROM scratch AS scripts
COPY <<"EOF" /install_os_dependencies.sh
#!/usr/bin/env bash
set -euo pipefail
if [[ "$#" != 1 ]]; then
    echo "ERROR! There should be 'runtime', 'ci' or 'dev' parameter passed as argument.".
    exit 1
fi
function install_debian_dev_dependencies() {
    apt-get update
    apt-get install -yqq --no-install-recommends apt-utils >/dev/null 2>&1
    # shellcheck disable=SC2086
    export ${ADDITIONAL_DEV_APT_ENV?}
    apt-get install -y --no-install-recommends ${DEV_APT_DEPS}
}
function install_debian_runtime_dependencies() {
    apt-get update
    apt-get install --no-install-recommends -yqq ${RUNTIME_APT_DEPS}
    apt-get autoremove -yqq --purge
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/log/*
}
EOF
COPY <<"EOF" /common.sh
#!/usr/bin/env bash
function common::get_colors() {
    COLOR_BLUE=$'\e[34m'
    export COLOR_BLUE
}
EOF

FROM ${BASE_IMAGE} AS workflow-build-image
SHELL ["/bin/bash", "-o", "pipefail", "-o", "errexit", "-o", "nounset", "-o", "nolog", "-c"]
ARG BASE_IMAGE
ENV BASE_IMAGE=${BASE_IMAGE} \
    DEBIAN_FRONTEND=noninteractive LANGUAGE=C.UTF-8 LANG=C.UTF-8 LC_ALL=C.UTF-8 \
    PIP_CACHE_DIR=/tmp/.cache/pip
ARG DEV_APT_DEPS=""
ARG ADDITIONAL_DEV_APT_ENV=""
ENV DEV_APT_DEPS=${DEV_APT_DEPS} \
    ADDITIONAL_DEV_APT_ENV=${ADDITIONAL_DEV_APT_ENV}
COPY --from=scripts install_os_dependencies.sh /scripts/docker/
RUN bash /scripts/docker/install_os_dependencies.sh dev
ARG WORKFLOW_HOME
ARG WORKFLOW_UID
ARG WORKFLOW_EXTRAS
ARG WORKFLOW_VERSION
ARG WORKFLOW_CONSTRAINTS_REFERENCE=""
ARG INSTALL_PACKAGES_FROM_CONTEXT="false"
ENV WORKFLOW_HOME=${WORKFLOW_HOME} \
    WORKFLOW_UID=${WORKFLOW_UID} \
    PATH="/root/bin:/home/workflow/.local/bin:${PATH}"
COPY --from=scripts common.sh /scripts/docker/
RUN --mount=type=cache,id=pip-cache-1,target=/tmp/.cache/pip,uid=${WORKFLOW_UID} \
    if [[ ${INSTALL_PACKAGES_FROM_CONTEXT} == "true" ]]; then \
        bash /scripts/docker/install_from_context.sh; \
    else \
        pip install "workflow[${WORKFLOW_EXTRAS}]==${WORKFLOW_VERSION}"; \
    fi; \
    find "${WORKFLOW_HOME}" -name '*.pyc' -print0 | xargs -0 rm -f || true

FROM ${BASE_IMAGE} AS main
SHELL ["/bin/bash", "-o", "pipefail", "-o", "errexit", "-o", "nounset", "-o", "nolog", "-c"]
ARG WORKFLOW_UID
ARG WORKFLOW_HOME
LABEL org.workflow.distro="debian" \
      org.workflow.module="workflow" \
      org.opencontainers.image.documentation="https://example.org/docs/"
ENV WORKFLOW_UID=${WORKFLOW_UID} \
    WORKFLOW_HOME=${WORKFLOW_HOME} \
    PATH="/home/workflow/.local/bin:${PATH}" \
    GUNICORN_CMD_ARGS="--worker-tmp-dir /dev/shm"
COPY --from=scripts install_os_dependencies.sh /scripts/docker/
RUN bash /scripts/docker/install_os_dependencies.sh runtime
RUN adduser --gecos "First Last,RoomNumber,WorkPhone,HomePhone" --disabled-password \
        --quiet "workflow" --uid "${WORKFLOW_UID}" --gid "0" --home "/home/workflow" && \
    mkdir -pv "${WORKFLOW_HOME}"/{dags,logs} && \
    chown -R workflow:0 "/home/workflow" "${WORKFLOW_HOME}" && \
    sed --in-place=.bak "s/secure_path=\"/secure_path=\"\/venv\/bin:/" /etc/sudoers
COPY --from=workflow-build-image --chown=workflow:0 \
     "/home/workflow/.local" "/home/workflow/.local"
WORKDIR ${WORKFLOW_HOME}
EXPOSE 8080
USER ${WORKFLOW_UID}
ENTRYPOINT ["/usr/bin/dumb-init", "--", "/entrypoint"]
CMD []
