"""How long stages take together: bounds that always hold, and schedules small enough to see."""

import random

from pgolf.pipeline.makespan import Work, makespan_s

POOLS = {"gpu": 1, "cpu": 2}


def work(name, seconds, *parents, pool="", devices=0):
    return Work(name=name, seconds=seconds, parents=parents, pool=pool, devices=devices)


def test_trainings_take_one_gpu_one_after_the_other_and_what_follows_them_runs_beside():
    works = [
        *(work("train[1]", 600, pool="gpu", devices=1), work("compress[1]", 50, "train[1]")),
        *(work("train[2]", 600, pool="gpu", devices=1), work("compress[2]", 50, "train[2]")),
    ]
    assert makespan_s(works, POOLS) == 1250


def test_a_lease_of_the_whole_node_is_not_overtaken():
    works = [
        work("a", 10, pool="cpu", devices=1),
        work("both", 10, pool="cpu", devices=2),
        work("b", 10, pool="cpu", devices=1),
    ]
    assert makespan_s(works, POOLS) == 30


def test_what_is_there_already_is_not_waited_for():
    assert makespan_s([work("mix", 3, "score"), work("other", 2, "score")], POOLS) == 3
    assert makespan_s([], POOLS) == 0


def test_it_lies_between_the_longest_chain_and_the_sum():
    draw = random.Random(6)
    for _ in range(50):
        works, longest = [], {}
        for i in range(draw.randint(1, 12)):
            parents = draw.sample([other.name for other in works], draw.randint(0, min(3, i)))
            pool = draw.choice(("", "gpu", "cpu"))
            devices = draw.randint(1, POOLS[pool]) if pool else 0
            works.append(work(f"n{i}", draw.randint(0, 20), *parents, pool=pool, devices=devices))
            longest[f"n{i}"] = works[-1].seconds + max((longest[parent] for parent in parents), default=0)
        for pool, size in POOLS.items():
            busy = sum(w.seconds * w.devices for w in works if w.pool == pool)
            assert makespan_s(works, POOLS) >= busy / size
        assert max(longest.values()) <= makespan_s(works, POOLS) <= sum(w.seconds for w in works)
