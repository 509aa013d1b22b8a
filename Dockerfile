# The service (the default target), the training job (--target training) and a node of a Ray cluster (--target ray), for CPU
# unless told otherwise:
#
#   docker build -t unet-segmentation-service .
#   docker build --build-arg TORCH_BUILD=cuda ...                 with CUDA, from PyPI
#   docker build --build-arg TORCH_INDEX=https://your/simple ...  torch from a package index of your choice

# --- What both need: Python, torch, the server's lock. From what changes least to what changes most. -------------------
FROM python:3.11-slim AS base

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /srv

ARG TORCH_BUILD=cpu
ARG TORCH_INDEX=
COPY requirements/torch.txt requirements/install_torch.py requirements/
# Its C++ headers and tests are an eighth of the image, and of no use where there is no compiler.
RUN TORCH_BUILD="$TORCH_BUILD" TORCH_INDEX="$TORCH_INDEX" python requirements/install_torch.py \
    && torch=$(python -c 'import importlib.util as u; print(*u.find_spec("torch").submodule_search_locations)') \
    && rm -rf "$torch/include" "$torch/test"

COPY requirements/serve.txt requirements/
RUN python -m pip install --quiet --requirement requirements/serve.txt

# The user is fixed so that volumes keep their owner from one image to the next. It owns no code; it writes to /tmp, and to
# /weights and /labels: a new volume mounted there takes over the folder's owner.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin segment \
    && install --directory --owner segment --group segment /weights /labels
# Some libraries ask for a home and a name; also when the container runs as another user, one that /etc/passwd lacks.
ENV HOME=/tmp USER=segment
STOPSIGNAL SIGTERM

# --- The training job: docker run --rm -v ./data/train:/data/train:ro -v weights:/weights ... [--epochs 20 ...] ----------
FROM base AS training

COPY requirements/train.txt requirements/
RUN python -m pip install --quiet --requirement requirements/train.txt
COPY model/ model/
COPY training/ training/

LABEL org.opencontainers.image.title="U-Net segmentation training" \
      org.opencontainers.image.description="Trains the weights of the U-Net segmentation service" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
# The last value of an option counts, so arguments of `docker run` may override these two as well.
ENTRYPOINT ["python", "-m", "training.run", "--data", "/data/train", "--out", "/weights"]

# --- A node of a Ray cluster that serves: deploy/kubernetes/ray ----------------------------------------------------------
FROM base AS ray

COPY requirements/ray.txt requirements/
RUN python -m pip install --quiet --requirement requirements/ray.txt
COPY model/ model/
COPY app/ app/

LABEL org.opencontainers.image.title="U-Net segmentation on Ray Serve" \
      org.opencontainers.image.description="Image segmentation with a U-Net, over HTTP, on the machines of a Ray cluster" \
      org.opencontainers.image.licenses="Apache-2.0"
# Ray starts its processes elsewhere than in WORKDIR; they are to find `app` and `model` all the same.
ENV PYTHONPATH=/srv
USER 10001:10001
CMD ["ray", "start", "--head", "--block"]

# --- The service ----------------------------------------------------------------------------------------------------------
FROM base AS service

COPY model/ model/
COPY app/ app/

LABEL org.opencontainers.image.title="U-Net segmentation service" \
      org.opencontainers.image.description="Image segmentation with a U-Net, over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV SEGMENT_HOST=0.0.0.0 SEGMENT_PORT=8000
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "\
import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['SEGMENT_PORT'] + '/readyz', timeout=4)"]
CMD ["python", "-m", "app"]
