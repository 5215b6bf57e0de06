"""Command line of the benchmarks."""

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import torch

import benchmarks
from benchmarks import page
from benchmarks.harness import machine


def available() -> dict[str, ModuleType]:
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name != "__main__"]
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "SUMMARY")}


def main() -> int:
    modules = available()
    listing = "\n".join(f"  {name:12s} {module.SUMMARY}" for name, module in modules.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this project against others and against yardsticks, as ratios in one run.",
        epilog=f"benchmarks:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help="which to run (default: all)")
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes")
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="threads torch may use (default: 1; several wait for the slowest where anything else runs)",
    )
    parser.add_argument("-o", "--out", type=Path, help="also write the sections of a page")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in modules]
    if unknown:
        parser.error(f"no benchmark called {unknown[0]!r}; there are {', '.join(modules)}")
    torch.set_num_threads(options.threads)
    for name in options.names or modules:
        here, tables = machine(), []
        print(f"\n{modules[name].SUMMARY}\n{here}\n", flush=True)
        for table in modules[name].run(options.quick, progress):
            print(f"{table}\n", flush=True)
            tables.append(table)
        if options.out is not None:
            page.write(options.out, {name: page.section(name, modules[name].SUMMARY, here, tables)})
    return 0


def progress(message: str) -> None:
    print(f"... {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
