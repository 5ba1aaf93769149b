"""A stream's plan: every block in its place, and so little of each that a stream may have millions."""

import ray

from ray_jobs.block_numbers import BlockNumbers


def test_every_number_is_a_task_in_its_place() -> None:
    tasks = BlockNumbers(5).get_read_tasks(parallelism=2)
    assert [row for task in tasks for table in task() for row in table["id"].to_pylist()] == [0, 1, 2, 3, 4]
    assert all(task.metadata.num_rows == 1 for task in tasks)


def test_a_block_takes_some_hundred_bytes_of_the_plan() -> None:
    # Ray Data keeps each of them in the object store for the whole stream.
    last = BlockNumbers(10**5).get_read_tasks(parallelism=10**5)[-1]
    assert len(ray.cloudpickle.dumps(last)) < 512
