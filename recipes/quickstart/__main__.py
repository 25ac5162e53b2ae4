"""The quickstart: `make quickstart`, or `python -m recipes.quickstart --out outputs/quickstart`.

Writes the embedded base, times the machine, trains HER-SFT on a seeded English part of her-mini, and compares both on
books that training never saw. Every stage is stored as soon as it is finished, so that a killed quickstart resumes
where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from recipes.quickstart.folder import Settings
from recipes.quickstart.run import Quickstart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/quickstart"), help="Folder of the run.")
    for entry in dataclasses.fields(Settings):
        kind = float if entry.default is None else type(entry.default)
        text = entry.metadata["help"] + ("" if entry.default is None else f" (default: {entry.default})")
        parser.add_argument(f"--{entry.name}", type=kind, default=entry.default, help=text)
    given = vars(parser.parse_args())
    os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported: the stages show their own progress
    try:
        report = Quickstart(out=given.pop("out"), settings=Settings(**given)).run()
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command resumes where it was.")
    print(f"\nThe report is in {report}")
    print(report.read_text().split("## Held-out")[0])


if __name__ == "__main__":
    main()
