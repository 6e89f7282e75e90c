#!/bin/sh
# python3: threads, subprocesses, sockets, asyncio, multiprocessing, temporary files, mmap, sqlite3.
#
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# In a file, since multiprocessing's spawn imports the main module again.
cat >main.py <<'EOF'
import asyncio
import concurrent.futures
import ctypes
import hashlib
import json
import mmap
import multiprocessing
import os
import queue
import random
import resource
import select
import selectors
import shutil
import signal
import socket
import socketserver
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zlib


def threads():
    todo, done = queue.Queue(), queue.Queue()

    def worker():
        while (n := todo.get()) is not None:
            done.put(n * n)

    crew = [threading.Thread(target=worker) for _ in range(8)]
    for thread in crew:
        thread.start()
    for n in range(100):
        todo.put(n)
    for _ in crew:
        todo.put(None)
    for thread in crew:
        thread.join()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        lengths = list(pool.map(len, ["a", "bb", "ccc"]))
    return sum(done.get() for _ in range(100)), lengths


def subprocesses():
    out = subprocess.run(["sort", "-r"], input="1\n3\n2\n", capture_output=True, text=True, check=True).stdout.split()
    status = subprocess.call(["sh", "-c", "exit 3"])
    killed = subprocess.Popen(["sleep", "60"], start_new_session=True)
    killed.terminate()
    try:
        subprocess.run(["sleep", "60"], timeout=0.1)
    except subprocess.TimeoutExpired:
        late = True
    child = os.fork()
    if child == 0:
        os._exit(7)
    return out, status, killed.wait(), late, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


def sockets():
    answers = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        for word in (b"one\n", b"two\n"):
            with socket.create_connection(server.server_address, timeout=10) as client:
                client.sendall(word)
                answers.append(client.makefile("rb").readline().decode().strip())
        server.shutdown()
    left, right = socket.socketpair()
    socket.send_fds(left, [b"fd"], [sys.stdout.fileno()])
    message, fds, _, _ = socket.recv_fds(right, 16, 1)
    for fd in fds:
        os.close(fd)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        here.bind(("127.0.0.1", 0))
        there.sendto(b"datagram", here.getsockname())
        answers.append(here.recvfrom(100)[0].decode())
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind("unix.sock")
        listener.listen()
        client.connect("unix.sock")
        server, _ = listener.accept()
        client.shutdown(socket.SHUT_WR)
        answers.append(server.recv(1))
        server.close()
    return answers, message, len(fds)


async def asynchronous():
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"async\n")
    answer = await reader.readline()
    writer.close()
    server.close()
    process = await asyncio.create_subprocess_exec("echo", "child", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    await asyncio.wait_for(asyncio.gather(*(asyncio.sleep(0.01) for _ in range(10))), 10)
    in_thread = await asyncio.to_thread(time.sleep, 0.01)
    return answer, output, in_thread


def square(n):
    return n * n


def processes():
    sums = []
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            sums.append(sum(pool.map(square, range(10))))
    context = multiprocessing.get_context("fork")
    shared = context.Value("i", 0)

    def add():
        for _ in range(50):
            with shared.get_lock():
                shared.value += 1

    adders = [context.Process(target=add) for _ in range(3)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join()
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        sums.append(sum(pool.map(square, range(5))))
    return sums, shared.value


def files():
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as anonymous:
        path = os.path.join(directory, "file")
        with open(path, "wb") as file:
            file.write(b"x" * 100_000)
            os.fsync(file.fileno())
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
            view[:5] = b"hello"
            view.flush()
        shutil.copy2(path, path + "2")
        os.link(path, path + "3")
        os.symlink("file", path + "4")
        os.rename(path + "3", path + "5")
        os.truncate(path + "2", 10)
        os.utime(path, (1, 2))
        anonymous.write(b"temporary")
        names = sorted(entry.name for entry in os.scandir(directory))
        status = os.stat(path)
        os.sendfile(anonymous.fileno(), os.open(path, os.O_RDONLY), 0, 10)
        return names, status.st_size, int(status.st_mtime), os.statvfs(directory).f_bsize > 0


def signals():
    got = []
    signal.signal(signal.SIGUSR1, lambda *_: got.append("USR1"))
    signal.signal(signal.SIGALRM, lambda *_: got.append("ALRM"))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(0.1)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    os.kill(os.getpid(), signal.SIGUSR2)
    return got, signal.sigwait([signal.SIGUSR2]).name


def system():
    reader, writer = os.pipe()
    selector = selectors.DefaultSelector()
    selector.register(reader, selectors.EVENT_READ)
    os.write(writer, b"x")
    ready = len(selector.select(1)), len(select.select([reader], [], [], 1)[0])
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ready, len(poll.poll(1000)), soft > 0, len(os.urandom(8)), ctypes.CDLL(None).getpid() == os.getpid()


def libraries():
    database = sqlite3.connect("db")
    database.execute("CREATE TABLE t (n)")
    database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(1000)])
    database.commit()
    random.seed(1)
    return (
        database.execute("SELECT sum(n) FROM t").fetchone()[0],
        hashlib.sha256(b"x").hexdigest()[:8],
        zlib.crc32(b"x"),
        json.dumps({"a": [1, None]}),
        random.randrange(1000),
    )


if __name__ == "__main__":
    for part in (threads, subprocesses, sockets, processes, files, signals, system, libraries):
        print(part.__name__, part(), flush=True)
    print("asynchronous", asyncio.run(asynchronous()))
EOF
python3 -B -I main.py
echo 'print(sum(range(10)))' | python3 -
if python3 -c 'raise SystemExit(4)'; then ended=0; else ended=$?; fi
same 'exit status' 4 "$ended"
if python3 -c 1/0 2>/dev/null; then ended=0; else ended=$?; fi
same 'an exception' 1 "$ended"
python3 -m venv --without-pip env && env/bin/python3 -c 'import sys; print(sys.prefix != sys.base_prefix)'
python3 -m compileall -q main.py && python3 -m zipfile -c main.zip main.py && python3 -m zipfile -l main.zip | grep -c main.py
finish
