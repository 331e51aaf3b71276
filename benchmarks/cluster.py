"""What Ray itself costs a run: tasks like those of runs, on two nodes on this machine, whose workers do nothing.

python -m benchmarks.cluster [--tasks 200]
"""

import argparse
import os
import time

from ray.cluster_utils import Cluster


def nothing(number: int) -> int:
    """In place of a run."""
    return number


def timed(ray: object, tasks: int, **options: object) -> float:
    """Seconds from handing so many tasks over to the last one's end."""
    remote = ray.remote(nothing).options(scheduling_strategy="SPREAD", num_cpus=1, **options)  # type: ignore[attr-defined]
    began = time.perf_counter()
    ray.get([remote.remote(number) for number in range(tasks)])  # type: ignore[attr-defined]
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=200)
    tasks = parser.parse_args().tasks
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    began = time.perf_counter()
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    cluster.wait_for_nodes()
    print(f"two nodes started: {time.perf_counter() - began:.1f} s")
    began = time.perf_counter()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    print(f"connected: {time.perf_counter() - began:.1f} s")
    print(f"the first two tasks, whose processes are started: {timed(ray, 2):.2f} s")
    for number in (tasks, 10 * tasks):
        seconds = timed(ray, number)
        print(f"{number} tasks: {seconds:.2f} s, {1000 * seconds / number:.2f} ms each")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
