"""Real model servers on the loopback, each a process that ends with its block."""

import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

NAME = "smollm2"

_LLAMA_CPP = """
import sys, threading
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx, params.n_parallel = 8192, 1
params.hostnames, params.port = ["127.0.0.1"], int(sys.argv[2])
params.model_alias = {"smollm2"}
params.cpuparams.n_threads = int(sys.argv[3])
if len(sys.argv) > 4:  # no arithmetic of fewer bits than 32
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
server = xllamacpp.Server(params)
threading.Event().wait()
"""


def llama_cpp(gguf, *, float32=False, threads=1):
    """The base URL of a llama.cpp server.

    Its threads wait for one another at full speed: on a busy machine one of them is the quickest.
    """
    options = [threads, "float32"] if float32 else [threads]
    return _serving([sys.executable, "-c", _LLAMA_CPP, gguf], options)


def vllm(folder, *options):
    """The base URL of ``vllm serve``, whose command wants a package of the name vllm."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder]
    fixed = ["--served-model-name", NAME, "--dtype", "float32", "--enforce-eager", *options]
    return _serving([*command, "--port"], fixed, seconds=300)


@contextmanager
def _serving(command, options, *, seconds=60):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(word) for word in (*command, port, *options)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"http://127.0.0.1:{port}", process, seconds)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url, process, seconds):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health") as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not start")


def write_float32_gguf(source, target):
    """A GGUF file of the same numbers, every tensor in 32 bits."""
    import gguf
    from gguf.quants import dequantize

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        own = name.startswith("GGUF.") or name == "general.architecture"
        if not own and name != "general.file_type":
            kind, *rest = field.types
            inner = rest[-1] if rest else None
            writer.add_key_value(name, field.contents(), kind, sub_type=inner)
    writer.add_file_type(0)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
