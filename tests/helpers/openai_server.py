"""An OpenAI-compatible server on the loopback, which can also misbehave.

Its model finds the longest passage the most relevant. It begins an answer anew, as OpenAI's do:
``[``, the best identifier, ``]`` and so on.
"""

import json
import math
import re
import select
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "served-model"
LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
PASSAGE = re.compile(r"^\[([A-Z])\] (.*)$", re.MULTILINE)

REFUSALS = {
    "key": (401, "Incorrect API key provided: {key}"),
    "too_many": (429, "slow down"),
    "down": (500, "the server is down"),
    "forbidden": (403, "This key may not be used here"),
    "no_logprobs_here": (403, "You are not allowed to request logprobs from this model"),
    "at_most_5": (400, "Invalid value: 'top_logprobs' must be at most 5"),
    "new_names": (
        400,
        "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
    ),
    "only_warm": (400, "Unsupported value: 'temperature' does not support 0 with this model"),
    "mentions_logprobs": (400, "bad request, such as logprobs, max_tokens, temperature or stop"),
    "bad_request": (400, "bad request, whatever it says"),
    "short_context": (
        400,
        "This model's maximum context length is 150 tokens. However, your messages resulted in "
        "{words} tokens. Please reduce the length of the messages.",
    ),
}


MOODS = (
    "reset",
    "cut_body",
    "too_many",
    "down",
    "error_body",
    "cut_json",
    "silent",
    "two",
    "stall",
)
"""What may be wrong with a single answer; see `MoodyServer`."""


class OpenAIServer:
    """What the server is asked, and what is wrong with it.

    Attributes:
        url: The base of its API.
        asked: The bodies of its requests.
        most_at_once: The most requests that waited for their answer together.
        left: How many requests of those that were held at the ``gate`` had nobody waiting any more.
        faults: Names of what is wrong; see `answer` and `refusal`.
        cap: The most alternatives it reports.
        gate: Requests wait for it where ``slow`` is among the faults.
        tokenizer: Where prompts come as token ids.
        exact: Whether it reports exactly the tokens it is asked for, as vLLM does.
        models: The names it lists; None where it lists none.
        port: Where it listens; any free one where it is 0.
    """

    def __init__(self, *faults, cap=20, tokenizer=None, exact=False, models=None, port=0):
        self.faults, self.cap = set(faults), cap
        self.tokenizer, self.exact, self.models = tokenizer, exact, models
        self.asked, self.most_at_once, self._in_flight, self.left = [], 0, set(), 0
        self.gate, self._lock = threading.Event(), threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.list_models(self)

            def do_POST(self):
                outer.respond(self)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # many clients at once are part of the tests

            def handle_error(self, request, client_address):
                pass  # clients that hang up are, too

        self._kind, self._handler, self.port = Server, Handler, port
        self.come_back()
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def come_back(self):
        """Listen, at the same port as before."""
        self._server = self._kind(("127.0.0.1", self.port), self._handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def die(self):
        """Refuse connections."""
        self._server.shutdown()
        self._server.server_close()

    def close(self):
        self.gate.set()
        self.die()

    def asked_for_logprobs(self):
        return [body for body in self.asked if body.get("logprobs")]

    def list_models(self, handler):
        rows = [{"id": name, "owned_by": "somebody"} for name in self.models or ()]
        self.send(handler, 404 if self.models is None else 200, {"data": rows})

    def respond(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self.asked.append(body)
            self._in_flight.add(handler)
            self.most_at_once = max(self.most_at_once, len(self._in_flight))
        try:
            self.reply(handler, body)
        finally:
            self._in_flight.discard(handler)

    def reply(self, handler, body):
        if "slow" in self.faults:
            self.gate.wait(30)
            left = gone(handler)  # before the lock: `left += gone()` reads the sum first
            with self._lock:
                self.left += left
        if "busy" in self.faults:
            time.sleep(0.02)
        if "reset" in self.faults:
            hang_up(handler)
            return
        status, found = self.refusal(body, handler.headers) or (
            200,
            self.answer(body, handler.path),
        )
        self.send(handler, status, found)

    def send(self, handler, status, found, headers=()):
        text = (found if isinstance(found, str) else json.dumps(found)).encode()
        self._in_flight.discard(handler)  # before the client knows, and asks the next one
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        handler.send_header("Connection", "close")  # no client outlives its event loop with one
        if status == 429 and not headers:
            handler.send_header("Retry-After", "7")
        for name, value in dict(headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text)

    def refusal(self, body, headers):
        """A status and an error, where a fault applies to the request."""
        if len(body.get("logprob_token_ids", ())) > 128:  # as vLLM
            return 400, {"error": {"message": "greater than max allowed: 128"}}
        words = sum(len(text.split()) for text in texts(body))
        applies = {
            "at_most_5": body.get("top_logprobs", 0) > 5,
            "mentions_logprobs": body.get("logprobs"),
            "new_names": "max_tokens" in body,
            "no_logprobs_here": body.get("logprobs"),
            "only_warm": body.get("temperature", 1) != 1,
            "short_context": words > 150,
        }
        for fault, (status, message) in REFUSALS.items():
            if fault in self.faults and applies.get(fault, True):
                message = message.format(words=words, key=headers["Authorization"])
                return status, {"error": {"message": message, "type": "invalid_request_error"}}
        return None

    def answer(self, body, path):
        if "garbage" in self.faults:
            return "<html>it works!</html>"
        if "no_choices" in self.faults:
            return {"id": "1", "object": "chat.completion", "created": 1, "model": "m"} | {
                "choices": []
            }
        if isinstance(body.get("prompt"), list):
            body = {**body, "prompt": self.tokenizer.decode(body["prompt"])}
        scores = relevance("\n".join(texts(body)))
        tokens = self.written(scores, body)
        if path.endswith("/completions") and "chat" not in path:
            begun = body["prompt"].endswith("[")  # then it goes on from there
            more = {**body, "max_tokens": body.get("max_tokens", 100) + begun}
            tokens = self.written(scores, more)[begun:]
            return self.completion(body, tokens, scores)
        if path.endswith("/responses"):
            return self.response(body, tokens, scores)
        text = "".join(tokens)
        stop = next((s for s in body.get("stop") or [] if s in text), None)
        reason = "stop" if stop or not self.cut else "length"
        text = text.partition(stop)[0] if stop else text
        choice = {
            "index": 0,
            "finish_reason": reason,
            "message": {"role": "assistant", "content": None if "mute" in self.faults else text},
        }
        if body.get("logprobs") and "silent" not in self.faults:
            choice["logprobs"] = {"content": self.content(body, tokens, scores)}
        if "garbage_logprobs" in self.faults:
            choice["logprobs"] = {"content": [{"token": "B", "logprob": None, "top_logprobs": []}]}
        usage = {"prompt_tokens": 100, "completion_tokens": len(tokens), "total_tokens": 0}
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "served-model",
            "choices": [choice],
            "usage": usage,
        }

    def written(self, scores, body):
        """The tokens of the answer, no more than are allowed."""
        order = sorted(scores, key=lambda name: -scores[name])
        tokens = [piece for name in order for piece in (" > [", name, "]")]
        tokens[0:1] = ["["]
        if "chatty" in self.faults:
            tokens = ["Sure", ", ", *tokens]
        limit = next((body[name] for name in LIMITS if name in body), 10_000)
        if "thinks" in self.faults:  # of which nothing is seen
            tokens = tokens if limit > 1_000 else []
        self.cut = len(tokens) > limit or not tokens
        return tokens[:limit]

    def content(self, body, tokens, scores):
        names = [{"token": name, "logprob": value, "bytes": None} for name, value in scores.items()]
        others = [{"token": f" word{i}", "logprob": -50.0 - i, "bytes": None} for i in range(3)]
        top = sorted(names + others, key=lambda entry: -entry["logprob"])
        top = top[: min(self.cap, body.get("top_logprobs") or 0)]
        bracket = {"token": "[", "logprob": -0.01, "bytes": None}
        return [
            {"token": t, "logprob": scores.get(t, -0.01), "bytes": None}
            | {"top_logprobs": top if t in scores else [{**bracket, "token": t}]}
            for t in tokens
        ]

    def response(self, body, tokens, scores):
        content = {"type": "output_text", "text": "".join(tokens), "annotations": []}
        if body.get("include") and "silent" not in self.faults:
            content["logprobs"] = self.content(body, tokens, scores)
        message = {"type": "message", "id": "2", "role": "assistant", "status": "completed"}
        usage = {"input_tokens": 100, "output_tokens": len(tokens), "total_tokens": 0}
        return {
            "id": "1",
            "object": "response",
            "created_at": 1,
            "model": "served-model",
            "output": [message | {"content": [content]}],
            "status": "incomplete" if self.cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if self.cut else None,
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage,
        }

    def wanted(self, ids, scores):
        """Exactly these tokens, as vLLM names them."""
        names = self.tokenizer.convert_ids_to_tokens(ids)
        return {
            f"token_id:{i}": scores.get(name, -99.0) for i, name in zip(ids, names, strict=True)
        }

    def completion(self, body, tokens, scores):
        choice = {"index": 0, "finish_reason": "length", "text": "".join(tokens)}
        if body.get("logprobs") and "silent" not in self.faults:
            best = sorted(scores, key=lambda name: -scores[name])
            top = {name: scores[name] for name in best[: min(self.cap, body["logprobs"])]}
            tops = [top if t in scores else {t: -0.01} for t in tokens]
            if self.exact and "logprob_token_ids" in body:
                tops = [self.wanted(body["logprob_token_ids"], scores)] * len(tokens)
            choice["logprobs"] = {
                "tokens": tokens,
                "token_logprobs": [max(top.values()) for top in tops],
                "top_logprobs": tops,
                "text_offset": [],
            }
        usage = {"prompt_tokens": 100, "completion_tokens": len(tokens), "total_tokens": 0}
        return {
            "id": "1",
            "object": "text_completion",
            "created": 1,
            "model": "served-model",
            "choices": [choice],
            "usage": usage,
        }


class MoodyServer(OpenAIServer):
    """A server that misbehaves now and then.

    Args:
        moods: Gives what is wrong with the next answer: one of `MOODS`, or None.
        stall_s: Seconds that an answer takes where it stalls.

    Attributes:
        had: How often each mood was had.
    """

    def __init__(self, moods, stall_s=1.0, **options):
        super().__init__(**options)
        self.moods, self.stall_s, self.had = moods, stall_s, Counter()

    def reply(self, handler, body):
        with self._lock:
            mood = self.moods()
            self.had[mood] += 1
        if mood == "reset":
            hang_up(handler)
        elif mood == "stall":
            time.sleep(self.stall_s)
            hang_up(handler)
        elif mood in ("too_many", "down"):
            status = {"too_many": 429, "down": 500}[mood]
            self.send(handler, status, {"error": {"message": "not now"}}, {"Retry-After": "1"})
        elif mood == "error_body":
            self.send(handler, 200, {"error": {"message": "oops", "code": 503}})
        else:
            self.spoilt(handler, self.answer(body, handler.path), mood)

    def spoilt(self, handler, answer, mood):
        text = json.dumps(answer)
        if mood == "cut_json":
            self.send(handler, 200, text[: len(text) // 2])
        elif mood == "cut_body":
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(text)))
            handler.end_headers()
            handler.wfile.write(text[:20].encode())
            hang_up(handler)
        else:
            choice = answer["choices"][0]
            if mood == "silent":
                choice.pop("logprobs", None)
            copies = 2 if mood == "two" else 1
            self.send(handler, 200, answer | {"choices": [choice] * copies})


class Scoring(OpenAIServer):
    """Scores a pair by the passage's length; ``shape`` says whose API it speaks."""

    def __init__(self, shape, refuses=None, **options):
        super().__init__(**options)
        self.shape, self.refuses = shape, refuses

    def reply(self, handler, body):
        paths = {"vllm": "/score", "tei": "/rerank", "jina": "/v1/rerank"}
        if handler.path != paths[self.shape]:
            self.send(handler, 404, {"detail": "Not Found"})
            return
        texts = body.get("text_2") or body.get("texts") or body["documents"]
        if self.refuses is not None and self.refuses in texts:
            self.send(handler, 400, {"error": {"message": "this text is bad"}})
            return
        raw = [len(text) / 10 - 1 for text in texts]
        if self.shape == "vllm":
            rows = [{"index": i, "object": "score", "score": x} for i, x in enumerate(raw)]
            found = {"model": MODEL, "data": rows, "usage": {"prompt_tokens": 7 * len(texts)}}
        elif self.shape == "tei":
            found = [{"index": i, "score": x} for i, x in enumerate(raw)]
        else:
            rows = [
                {"index": i, "relevance_score": 1 / (1 + math.exp(-x))} for i, x in enumerate(raw)
            ]
            found = {"model": MODEL, "results": rows[::-1]}
        self.send(handler, 200, found)


class Echoing(OpenAIServer):
    """Gives the k-th token of a prompt the log-probability -k."""

    def answer(self, body, path):
        n = len(body["prompt"])
        values = [None, *(-float(k) for k in range(1, n)), -0.5]
        logprobs = {"tokens": ["t"] * (n + 1), "token_logprobs": values, "top_logprobs": None}
        choice = {"index": 0, "text": "t", "finish_reason": "length", "logprobs": logprobs}
        return {"model": MODEL, "choices": [choice], "usage": {"prompt_tokens": n}}


class SGLang(OpenAIServer):
    """Reports the tokens that are asked for, as SGLang's own path does."""

    def list_models(self, handler):
        self.send(handler, 200, {"data": [{"id": MODEL, "owned_by": "sglang"}]})

    def answer(self, body, path):
        assert path == "/generate"
        rows = [[-i / 1000, i, None] for i in body["token_ids_logprob"]]
        return {"text": "", "meta_info": {"output_token_ids_logprobs": [rows]}}


def hang_up(handler):
    """Close the connection with a reset."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True


def gone(handler):
    """Whether the client closed the connection before it was answered."""
    readable, _, _ = select.select([handler.connection], [], [], 0.1)
    return bool(readable) and handler.connection.recv(1, socket.MSG_PEEK) == b""


def texts(body):
    """What a request says, under whichever name its API has for it."""
    if "prompt" in body:
        return [body["prompt"] if isinstance(body["prompt"], str) else ""]
    found = [m["content"] for m in body.get("messages") or body.get("input") or []]
    return [c if isinstance(c, str) else "".join(part["text"] for part in c) for c in found]


def relevance(prompt):
    """Log-probability of each identifier: that of a longer passage is higher.

    Without passages, one for ``A`` and one for ``B`` that depend on the prompt's length.
    """
    found = {name: -0.1 - (1000 - len(text)) / 100 for name, text in PASSAGE.findall(prompt)}
    return found or {"A": -len(prompt) / 1000, "B": -1.0}


class Answering(OpenAIServer):
    """Answers as a function of the path and the body does: with a status and JSON."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function, self.paths = function, []

    def reply(self, handler, body):
        self.paths.append(handler.path)
        self.send(handler, *self.function(handler.path, body))
