"""A web endpoint that awaits the ranker: the event loop stays free while the model works.

make test                                 # once: installs the frameworks and small models
.venv/bin/uvicorn --app-dir examples 05_fastapi:app      # pip install uvicorn, then:
curl localhost:8000/rank -H 'content-type: application/json' \
     -d '{"query": "what do fleas eat?", "passages": ["Cats sleep.", "Fleas feed on blood."]}'

Run as a script, it asks itself eight questions at once and measures how late the loop is.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from haystack import Document
from haystack_integrations.components.rankers.rerank_plugins import PluginRanker
from offline import SMOLLM2_GGUF, abstracts
from pydantic import BaseModel

ranker = PluginRanker(strategy="query-likelihood", model=SMOLLM2_GGUF, top_k=3)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model before the first request, release it after the last."""
    await ranker.warm_up_async()
    yield
    await ranker.close_async()


app = FastAPI(lifespan=lifespan)


class Question(BaseModel):
    """The body of a request."""

    query: str
    passages: list[str]


@app.post("/rank")
async def rank(question: Question) -> dict[str, object]:
    """Passages, best first, with their scores and what they cost."""
    documents = [Document(content=text) for text in question.passages]
    result = await ranker.run_async(query=question.query, documents=documents)
    return {
        "passages": [{"text": d.content, "score": d.score} for d in result["documents"]],
        "meta": result["meta"],
    }


async def main() -> None:
    """Eight questions at once, and a heartbeat beside them."""
    import httpx

    texts = [text[:300] for text in abstracts(6).values()]
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://app", timeout=None) as client,
    ):
        late: list[float] = []
        beating = asyncio.create_task(heartbeat(late))
        questions = [
            {"query": f"which abstract is about topic {i}?", "passages": texts} for i in range(8)
        ]
        replies = await asyncio.gather(*(client.post("/rank", json=q) for q in questions))
        beating.cancel()
    assert all(r.status_code == 200 and len(r.json()["passages"]) == 3 for r in replies)
    print("first answer:", replies[0].json()["passages"][0])
    print(f"{len(replies)} rankings; the loop was late by {max(late) * 1000:.0f} ms at worst")


async def heartbeat(late: list[float], every_s: float = 0.01) -> None:
    """Note by how many seconds each beat comes late."""
    while True:
        due = time.perf_counter() + every_s
        await asyncio.sleep(every_s)
        late.append(time.perf_counter() - due)


if __name__ == "__main__":
    asyncio.run(main())
