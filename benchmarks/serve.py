"""Latency of searches through the API of `splade-bridge serve`, asked one by one and side by side.

.venv/bin/python benchmarks/serve.py INDEX... -m MODEL -q QUERIES [--corpus CORPUS]

Starts the server with these arguments and asks all queries of every index, first to warm up, then
timed by this client: with one connection, then with as many as `--at-once` says. What a request
takes holds the time of HTTP, of encoding and of the engine; `texts=false` leaves out texts.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

from machine import describe
from splade_bridge.retrieval.encode_queries import query_texts

SERVE = [sys.executable, "-m", "splade_bridge", "serve", "--port", "0", "--json"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("indexes", nargs="+")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-q", "--queries", required=True)
    parser.add_argument("--corpus")
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--most", type=int, default=1000, help="queries")
    given = parser.parse_args()
    print(describe("starlette", "uvicorn"))
    queries = [text.text for text in query_texts(given.queries)][: given.most]
    corpus = ["--corpus", given.corpus] if given.corpus else []
    server = subprocess.Popen(
        [*SERVE, *given.indexes, "-m", given.model, *corpus], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        told = "".join(iter(server.stdout.readline, "}\n")) + "}"
        address = json.loads(told)["address"].removeprefix("http://").rstrip("/")
        print(f"{len(queries)} queries, k = {given.k}, milliseconds of a request")
        for number, index in enumerate(given.indexes):
            for texts in ("true", "false") if corpus else ("false",):
                asked = [
                    urlencode({"q": q, "index": number, "k": given.k, "texts": texts})
                    for q in queries
                ]
                timed(address, asked, 1)
                for at_once in (1, given.at_once):
                    taken, seconds = timed(address, asked, at_once)
                    cuts = statistics.quantiles(taken, n=100)
                    print(
                        f"{index:<24} texts={texts:<6} {at_once:>3} at once  "
                        f"p50 {cuts[49]:8.2f}  p95 {cuts[94]:8.2f}  p99 {cuts[98]:8.2f}  "
                        f"{len(asked) / seconds:8.1f} a second"
                    )
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


def timed(address: str, asked: list[str], at_once: int) -> tuple[list[float], float]:
    """Milliseconds of each request, and seconds of all."""

    def some(part: list[str]) -> list[float]:
        connection = http.client.HTTPConnection(address)
        taken = []
        for query in part:
            began = time.perf_counter()
            connection.request("GET", f"/search?{query}")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            taken.append(1000 * (time.perf_counter() - began))
        connection.close()
        return taken

    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        parts = list(pool.map(some, [asked[i::at_once] for i in range(at_once)]))
    return [one for part in parts for one in part], time.perf_counter() - began


if __name__ == "__main__":
    main()
