# docker build -t tiller . && docker run -p 7860:7860 -v tiller-data:/data tiller
# With an NVIDIA GPU: docker build --build-arg TORCH_BUILD=cu130 -t tiller . && docker run --gpus all ...
FROM python:3.12-slim

# A folder of https://download.pytorch.org/whl/: cpu, cu126, cu130, ...
ARG TORCH_BUILD=cpu

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app

# torch first and alone: its index has other versions of the common packages than those that are tested.
COPY requirements.txt constraints.txt ./
RUN pip install --no-deps --index-url "https://download.pytorch.org/whl/${TORCH_BUILD}" -c constraints.txt torch \
    && pip install -r requirements.txt -c constraints.txt

# A named volume takes its owner from the folder it covers, so /data is made here, for uid 1000.
RUN useradd --create-home --uid 1000 tiller \
    && install -d -o tiller -g tiller /data /app/var
COPY --chown=tiller:tiller . .

USER 1000
ENV TILLER_HOST=0.0.0.0 \
    TILLER_PORT=7860
EXPOSE 7860

# Any answer of the page will do; the embedded model needs a few seconds to load, a large one minutes.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5m --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['TILLER_PORT'], timeout=4)"]

# Python as process 1 ignores SIGTERM but ends quietly on Ctrl-C's signal.
STOPSIGNAL SIGINT

# Judgements go to /data unless what is mounted there cannot be written to, or TILLER_HOME says otherwise. Options can
# follow the image's name: docker run tiller --preset tulu2-7b; the port is changed by -e TILLER_PORT=8000, which the
# health check reads, too.
ENTRYPOINT ["sh", "-c", "[ -n \"$TILLER_HOME\" ] || [ ! -w /data ] || export TILLER_HOME=/data; exec python app.py \"$@\"", "tiller"]
