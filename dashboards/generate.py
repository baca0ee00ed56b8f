#!/usr/bin/env python3
"""Writes the dashboards beside it; with `--check` it only says whether they are what it would write."""

import json
import pathlib
import sys

sys.dont_write_bytecode = True
import clusters, fleet, itself, overview  # noqa: E401, E402


def main():
    stale = []
    for made in (overview.overview(), fleet.fleet(), clusters.clusters(), itself.itself()):
        path = pathlib.Path(__file__).resolve().parent / (made["uid"].removeprefix("switchyard-") + ".json")
        text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"run dashboards/generate.py: {', '.join(stale)} would be written anew")


if __name__ == "__main__":
    main()
