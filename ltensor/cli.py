"""The command ``ltensor``: run Theano programs, look at what they compile to.

Layer 6.  Only `run` is done here; `dump`, `opt` and `info` read their options here and leave the
work to `ltensor.dump`.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType, TracebackType

from ltensor import compat
from ltensor.version import __version__

__all__ = ["main", "run_program"]

STAGES = ("graph", "opt", "memory", "kernels", "llvm", "asm", "ptx")


def run_program(path: str, arguments: Sequence[str]) -> None:
    """Run a program as ``python path arguments`` would, with ``import theano`` meaning ltensor.

    Parameters
    ----------
    path
        The program's file.
    arguments
        What it finds in ``sys.argv`` after its own name.
    """
    with io.open_code(os.path.abspath(path)) as file:
        code = compile(file.read(), path, "exec")
    # A module of its own under the real name: pickle and multiprocessing look it up there.
    module = ModuleType("__main__")
    module.__file__ = path
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    sys.argv = [path, *arguments]
    sys.path[0] = os.path.dirname(os.path.abspath(path))
    compat.install()
    _tell_children()
    exec(code, module.__dict__)


def _tell_children() -> None:
    """Let processes that the program starts (``multiprocessing``, joblib) import theano, too."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(compat.__file__)))
    folders = [os.path.join(package, "compat", "import_path")]
    root = os.path.dirname(package)
    if root not in map(os.path.abspath, sys.path):
        folders.append(root)  # python -m ltensor in the folder that holds it
    sys.path[1:1] = folders  # multiprocessing hands this path on
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*folders, *filter(None, paths)]))


def _outside_this_file(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def _run(options: argparse.Namespace) -> int:
    try:
        run_program(options.program, options.arguments)
    except Exception as error:
        # What python prints, less our own frames.
        trace = _outside_this_file(error.__traceback__)
        sys.stdout.flush()
        traceback.print_exception(type(error), error, trace)
        return 1
    return 0


def _program_and_function(text: str) -> tuple[str, str | None]:
    """Split ``prog.py:name``; a colon that belongs to the file's name is left in it."""
    path, colon, name = text.rpartition(":")
    if not colon or os.path.exists(text) or not name.isidentifier():
        return text, None
    return path, name


def _dump(options: argparse.Namespace) -> int:
    path, function = _program_and_function(options.program)
    _must_exist(path)
    import ltensor.dump as dump

    dump.dump_program(
        path,
        list(options.arguments),
        stage=options.stage,
        after=options.after,
        diff=options.diff,
        function=options.function or function,
    )
    return 0


def _opt(options: argparse.Namespace) -> int:
    if options.file != "-":
        _must_exist(options.file)
    import ltensor.dump as dump

    dump.optimize_file(options.file, options.passes)
    return 0


def _info(options: argparse.Namespace) -> int:
    import ltensor.dump as dump

    dump.info()
    return 0


def _cache(options: argparse.Namespace) -> int:
    from ltensor.lowering.cpu import object_cache

    where = object_cache.folder()
    if where is None:
        print("the cache is off (LTENSOR_CACHE)")
    elif options.action == "clear":
        print(f"{object_cache.clear()} entries deleted from {where}")
    else:
        for title, count, size in object_cache.inventory():
            print(f"{title:<12} {count:6d} entries {size / 1e6:9.1f} MB")
        print(f"{'limit':<12} {'':14} {object_cache.LIMIT / 1e6:9.1f} MB, {where}")
    return 0


def _must_exist(path: str) -> None:
    if not os.path.isfile(path):
        raise FileNotFoundError(2, os.strerror(2), path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ltensor", description="Run Theano programs natively, and see what becomes of them."
    )
    parser.add_argument("--version", action="version", version=f"ltensor {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run an unmodified Theano program")
    run.add_argument("program", metavar="PROG", help="a Python file that says `import theano`")
    run.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="ARGS", help="the program's own arguments"
    )
    run.set_defaults(handler=_run)

    dump = commands.add_parser(
        "dump",
        help="print the functions that a program compiles, at any stage",
        description="Runs the program and prints the intermediate form of its functions. "
        "The texts of the stages graph and opt parse back.",
    )
    dump.add_argument("program", metavar="PROG[:NAME]", help="a program, and one of its functions")
    dump.add_argument("arguments", nargs="*", metavar="ARGS", help="the program's own, after --")
    dump.add_argument(
        "--stage",
        choices=STAGES,
        default="opt",
        help="graph: as built; opt: after the passes (default); memory: buffers and loops, and "
        "why; kernels: the kernel program; llvm, asm: for this CPU; ptx: for a GPU",
    )
    dump.add_argument("--after", metavar="PASS", help="stop after this pass (stage opt)")
    dump.add_argument(
        "--diff", action="store_true", help="show what each pass (or the one of --after) changed"
    )
    dump.add_argument("--function", metavar="NAME", help="only the function of this name")
    dump.set_defaults(handler=_dump)

    opt = commands.add_parser("opt", help="run passes on a file of textual IR")
    opt.add_argument("file", metavar="FILE.lt", help="textual IR; - for standard input")
    opt.add_argument(
        "--passes",
        required=True,
        metavar="A,B{x=1},C",
        help="names of passes, with options in braces",
    )
    opt.set_defaults(handler=_opt)

    info = commands.add_parser("info", help="versions, CPU features, BLAS, GPU, caches")
    info.set_defaults(handler=_info)

    cache = commands.add_parser("cache", help="what is kept on disk of compiled functions")
    cache.add_argument("action", choices=("info", "clear"), help="list it, or delete it all")
    cache.set_defaults(handler=_cache)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit status."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.command == "run" and not os.path.isfile(options.program):
        parser.error(f"there is no file {options.program}")
    try:
        status: int = options.handler(options)
        sys.stdout.flush()
        return status
    except FileNotFoundError as error:
        if error.filename is None or options.command == "run":
            raise
        parser.error(f"there is no file {error.filename}")
    except BrokenPipeError:
        # The reader (head, less) has seen enough; nothing may be written at exit any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
