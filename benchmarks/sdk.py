"""`python -m benchmarks.sdk THREADS`: the twilio client alone, as good as it gets without changing it.

One client, one thread pool. Reads how many to send from standard input, one number a line, and answers each with: seconds, CPU seconds.
Nothing is planned, and nothing is written down.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.client import make_client, number_of, send


def main(threads: int) -> None:
    client = make_client(threads)
    with ThreadPoolExecutor(threads) as pool:

        def send_all(count: int) -> None:
            list(pool.map(lambda index: send(client, number_of(index)), range(count)))

        send_all(threads * 2)  # every thread has its connection now
        print("ready", flush=True)
        for line in sys.stdin:
            began, cpu = time.perf_counter(), time.process_time()
            send_all(int(line))
            print(time.perf_counter() - began, time.process_time() - cpu, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
