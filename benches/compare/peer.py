"""Python's multiprocessing in the comparison: does what it is asked on stdin, one line at a time."""

import array
import collections
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time

MANY = 64
LARGE = 4 << 20
INCREMENTS = 1_000_000
NUMBERS = 50_000_000
PARTS = 4
REPEAT = 0.2


def square(x):
    return x * x


def doze(_):
    time.sleep(0.001)
    return os.getpid()


def p50(operation):
    times = []
    begin = time.perf_counter()
    while len(times) < 20 or time.perf_counter() - begin < REPEAT:
        start = time.perf_counter()
        operation()
        times.append(time.perf_counter() - start)
    times = sorted(times[len(times) // 10 :])
    return times[len(times) // 2]


def rate(count, work):
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def apply():
    with multiprocessing.Pool(1) as pool:
        return p50(lambda: pool.apply(square, (7,)))


def map_tasks(count, chunk):
    with multiprocessing.Pool(2) as pool:
        pool.map(square, range(1000))
        return rate(count, lambda: pool.map(square, range(count), chunk))


def imap():
    count = 10_000
    with multiprocessing.Pool(2) as pool:
        pool.map(square, range(1000))
        return rate(count, lambda: collections.deque(pool.imap(square, range(count)), maxlen=0))


def large(argument):
    count = 16
    with multiprocessing.Pool(2) as pool:
        pool.map(len, [argument] * 2, 1)
        return rate(count * LARGE, lambda: pool.map(len, [argument] * count, 1))


def spawn_and_join():
    def once():
        process = multiprocessing.Process(target=square, args=(7,))
        process.start()
        process.join()

    return p50(once)


def hold():
    pool = multiprocessing.Pool(MANY)
    answered = set()
    while len(answered) < MANY:
        answered.update(pool.map(doze, range(MANY), 1))
    return pool


def start_64():
    start = time.perf_counter()
    pool = hold()
    seconds = time.perf_counter() - start
    pool.terminate()
    return seconds


def increment(place, count, start, times):
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[place % len(allowed)]})
    start.wait()
    begin = time.perf_counter()
    for _ in range(INCREMENTS):
        with count.get_lock():
            count.value += 1
    times.put(time.perf_counter() - begin)


def increments():
    count, start = multiprocessing.Value("q", 0), multiprocessing.Barrier(2)
    times = multiprocessing.SimpleQueue()
    processes = [multiprocessing.Process(target=increment, args=(place, count, start, times)) for place in range(2)]
    for process in processes:
        process.start()
    slower = max(times.get() for _ in processes)
    for process in processes:
        process.join()
    return slower


def lock_and_unlock():
    lock = multiprocessing.Lock()

    def batch():
        for _ in range(1000):
            lock.acquire()
            lock.release()

    return p50(batch) / 1000


def share(numbers):
    global view
    view = memoryview(numbers).cast("B").cast("d")


def sum_in_place(part):
    length = NUMBERS // PARTS
    return sum(x * x for x in view[part * length : (part + 1) * length])


def squares(passes):
    numbers = multiprocessing.Array("d", NUMBERS, lock=False)
    thousand = array.array("d", range(1000))
    memoryview(numbers).cast("B")[:] = (thousand * (NUMBERS // 1000)).tobytes()
    with multiprocessing.Pool(2, share, (numbers,)) as pool:
        pool.map(square, range(4))
        for _ in range(passes):
            start = time.perf_counter()
            pool.map(sum_in_place, range(PARTS), 1)
            seconds = time.perf_counter() - start
        return seconds


def program(name):
    """Runs this file as a fresh program, which prints what it measured."""
    output = subprocess.run([sys.executable, __file__, "--program", name], capture_output=True, text=True)
    return output.stdout.strip()


def first():
    start = time.perf_counter()
    pool = multiprocessing.get_context("spawn").Pool(1)
    pool.apply(square, (7,))
    print("value", time.perf_counter() - start)
    pool.terminate()


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def killed(task):
    # A program of its own, since its pool cannot be ended any more afterwards.
    pool = multiprocessing.Pool(1, initializer=die_with_parent)
    pool.apply(square, (7,))
    start = time.perf_counter()
    if task:
        pool.apply_async(task, (7,))
    else:
        os.kill(pool._pool[0].pid, signal.SIGKILL)
    try:
        pool.apply_async(square, (7,)).get(2)
        print("value", time.perf_counter() - start, flush=True)
    except multiprocessing.TimeoutError:
        print("never", flush=True)
    os._exit(0)


PROGRAMS = {
    "first": first,
    "killed-idle": lambda: killed(None),
    "killed-busy": lambda: killed(die),
}

WORKS = {
    "apply": apply,
    "map-single": lambda: map_tasks(10_000, 1),
    "map-chunks": lambda: map_tasks(500_000, None),
    "imap": imap,
    "bytes": lambda: large(bytes(LARGE)),
    "vec": lambda: large(bytes(LARGE)),
    "spawn": spawn_and_join,
    "first": lambda: program("first"),
    "killed-idle": lambda: program("killed-idle"),
    "killed-busy": lambda: program("killed-busy"),
    "start-64": start_64,
    "increments": increments,
    "lock": lock_and_unlock,
    "squares-first": lambda: squares(1),
    "squares": lambda: squares(2),
}


def answer_all():
    held = None
    for line in sys.stdin:
        question = line.strip()
        if question == "hold":
            held = hold()
            answer = "held"
        elif question == "release":
            held.terminate()
            held.join()
            answer = "absent"
        elif question in WORKS:
            result = WORKS[question]()
            answer = result if isinstance(result, str) else f"value {result}"
        else:
            answer = "absent"
        print(answer, flush=True)


if __name__ == "__main__":
    if "--program" in sys.argv:
        PROGRAMS[sys.argv[-1]]()
    else:
        if "--pinned" in sys.argv:
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        answer_all()
